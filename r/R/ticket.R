COLUMNS <- c("event_id", "event_type", "entity_type", "entity_id", "timestamp", "data", "user_id", "org_id", "offset")
MOST_INTEGER <- "9223372036854775807"

#' How one asks a Flight server for events
#'
#' The ticket that [events_read()] and [events_stream()] send, for other Flight clients: `arrow::flight_get(client,
#' events_ticket("Order"))` takes it as it is.
#'
#' @param entity An entity type such as `"Order"`; `"*"` is all. An entity type that is itself named `*` is `I("*")`.
#' @param start,end The first and the last moment wanted, as a Date, a POSIXct or text (RFC 3339); without an offset
#'   text is UTC. An end that is a date includes that whole day (UTC), one that is a time is excluded.
#' @param limit The most events wanted.
#' @param columns Only these columns, in this order; `"offset"` may be one.
#' @param event_types Only events of these types.
#' @param after_offset Only events after this offset: a whole number, beyond 2^53 as text or integer64.
#' @param history What `after_offset` is an offset of, as `stream$history` has it.
#' @param batch_size The most rows in a batch; 10,000 without it.
#' @param compression `"zstd"` or `"lz4"`: compressed on the way, for a slow network.
#' @param follow Whether to go on with what arrives.
#' @return The ticket, one text in the shortest of its two spellings.
#' @examples
#' events_ticket("Order", "2026-01-01", "2026-01-31")
#' events_ticket("Order", start = as.Date("2026-01-01"), limit = 100)
#' @export
events_ticket <- function(entity = "*", start = NULL, end = NULL, limit = NULL, columns = NULL, event_types = NULL,
                          after_offset = NULL, history = NULL, batch_size = NULL, compression = NULL, follow = FALSE) {
  check_entity(entity)
  check_columns(columns)
  check_texts("event_types", event_types)
  check_choice("compression", compression, c("zstd", "lz4"))
  check_flag("follow", follow)
  check_history(history)
  limit <- whole_number("limit", limit, 0)
  after_offset <- whole_number("after_offset", after_offset, -1)
  batch_size <- whole_number("batch_size", batch_size, 1, 1e6)
  start_text <- format_start(start)
  end_text <- format_end(end)
  if (!is_before(start, end)) wrong("start ", start_text, " is after end ", end_text)
  more <- list(limit, after_offset, history, event_types, columns, compression)
  if (all(vapply(more, is.null, NA)) && (is.null(batch_size) || batch_size == "10000")) {
    return(path_spelling(entity, start_text, end_text, follow))
  }
  if (inherits(entity, "AsIs") && entity == "*") {
    wrong("the entity type named * can be asked for with a range of times only, with no other options")
  }
  fields <- list(
    type = quoted("ObserverEvents"), entity_type = quoted(entity), start_date = quoted(start_text),
    end_date = quoted(end_text), limit = limit, after_offset = after_offset, history = quoted(history),
    event_types = listed(event_types), columns = listed(columns), mode = if (follow) quoted("streaming"),
    batch_size = if (!identical(batch_size, "10000")) batch_size, compression = quoted(compression)
  )
  fields <- fields[!vapply(fields, is.null, NA)]
  paste0("{", paste0("\"", names(fields), "\":", unlist(fields), collapse = ","), "}")
}

path_spelling <- function(entity, start, end, follow) {
  name <- gsub(":", "%3A", gsub("%", "%25", enc2utf8(as.character(entity)), fixed = TRUE), fixed = TRUE)
  if (inherits(entity, "AsIs") && entity == "*") name <- "%2A"
  parts <- c("events", name, if (is.null(start)) "" else start, if (is.null(end)) "" else end,
             if (follow) "streaming" else "")
  sub(":+$", "", paste(parts, collapse = ":"))
}

quoted <- function(text) {
  if (is.null(text)) NULL else as.character(jsonlite::toJSON(jsonlite::unbox(enc2utf8(as.character(text)))))
}

listed <- function(texts) {
  if (is.null(texts)) NULL else paste0("[", paste(vapply(texts, quoted, ""), collapse = ","), "]")
}

check_entity <- function(entity) {
  if (!is.character(entity) || length(entity) != 1 || is.na(entity)) {
    wrong("entity is ", shown(entity), ": name an entity type such as \"Order\", or \"*\" for all")
  }
  if (!validEnc(entity)) wrong("entity ", shown(entity), " is not valid in its encoding: iconv() mends it")
  if (entity == "") wrong("the entity type is missing: name one such as \"Order\", or \"*\" for all")
  size <- nchar(enc2utf8(entity), "bytes")
  if (size > 80) wrong("the entity type has ", size, " bytes: 80 are the most")
}

check_texts <- function(name, values) {
  if (is.null(values)) return(invisible())
  if (!is.character(values) || anyNA(values)) wrong(name, " is ", shown(values), ": texts are expected")
  if (length(values) == 0) wrong(name, " is empty: leave it out to get all")
}

check_columns <- function(columns) {
  check_texts("columns", columns)
  for (column in columns) {
    if (!column %in% COLUMNS) {
      there <- paste(COLUMNS, collapse = ", ")
      wrong("there is no column ", shown(column), near(column, COLUMNS), "; there are ", there)
    }
  }
  if (anyDuplicated(columns)) wrong("columns names one column twice")
}

check_choice <- function(name, value, known) {
  if (!is.null(value) && !(is.character(value) && length(value) == 1 && value %in% known)) {
    wrong(name, " is ", shown(value), ": it must be ", paste0("\"", known, "\"", collapse = " or "), near(value, known))
  }
}

check_history <- function(history) {
  pattern <- "^[0-9a-f]{8}(\\.[0-9a-f]{16}\\.[0-9]{1,18})?$"
  if (!is.null(history) && !(is.character(history) && length(history) == 1 && grepl(pattern, history))) {
    wrong("history is ", shown(history), ": it must be one that a server has named, such as \"1b671a64\"")
  }
}

check_flag <- function(name, value) {
  if (!isTRUE(value) && !isFALSE(value)) wrong(name, " is ", shown(value), ": it must be TRUE or FALSE")
}

# A whole number as its digits: R's own numbers do not reach all of 64 bits.
whole_number <- function(name, value, least, most = Inf) {
  if (is.null(value)) return(NULL)
  given <- value
  largest <- if (is.finite(most)) format(most, scientific = FALSE) else MOST_INTEGER
  range <- paste0(": it must be a whole number from ", least, " to ", largest)
  if (length(value) != 1 || !is.atomic(value) || is.na(value) || is.logical(value) || is.factor(value)) {
    wrong(name, " is ", shown(value), range)
  }
  if (is.numeric(value) && !inherits(value, "integer64")) {
    if (!is.finite(value) || value != floor(value)) wrong(name, " is ", shown(value), range)
    if (abs(value) > 2^53 && !is.finite(most)) {
      wrong(name, " is beyond 2^53, where R's numbers have gaps: write it as text, such as \"", MOST_INTEGER, "\"")
    }
    value <- sprintf("%.0f", value)
  }
  digits <- as.character(value)
  if (!grepl("^-?[0-9]{1,19}$", digits) || !is_between(digits, least, most)) wrong(name, " is ", shown(given), range)
  digits <- sub("^(-?)0+([0-9])", "\\1\\2", digits)
  if (digits == "-0") "0" else digits
}

is_between <- function(digits, least, most) {
  number <- as.numeric(digits)
  plain <- sub("^0+", "", digits)
  inside <- nchar(plain) < nchar(MOST_INTEGER) || plain <= MOST_INTEGER
  number >= least && number <= most && (number < 0 || inside)
}
