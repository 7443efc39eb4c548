# JSON of R's values: every number in as few digits as give it again, times as in a ticket, what has names as an object.

json_text <- function(value, where = "data") {
  if (is.null(value)) return("null")
  if (inherits(value, "POSIXlt")) value <- as.POSIXct(value)
  if (is.data.frame(value)) {
    return(json_array(lapply(seq_len(nrow(value)), function(row) json_text(row_of(value, row), where))))
  }
  if (is.list(value) && (!is.object(value) || inherits(value, "AsIs"))) {
    parts <- lapply(unclass(value), json_text, where = where)
    is_array <- is.null(names(value)) && length(value) > 0
    return(if (is_array) json_array(parts) else json_object(names(value), parts, where))
  }
  texts <- json_scalars(value, where)
  if (!is.null(names(value))) return(json_object(names(value), texts, where))
  if (length(texts) == 1 && !inherits(value, "AsIs")) texts else json_array(texts)
}

# A row of a data frame as a list of what its columns have there.
row_of <- function(frame, row) {
  lapply(frame, function(column) {
    if (is.data.frame(column)) row_of(column, row) else if (is.list(column)) column[[row]] else unname(column[row])
  })
}

json_array <- function(parts) paste0("[", paste(unlist(parts), collapse = ","), "]")

json_object <- function(names, parts, where) {
  if (length(parts) > 0 && (anyNA(names) || any(!nzchar(names)))) {
    wrong(where, " has a list in which some have a name and some have none")
  }
  if (anyDuplicated(names)) wrong(where, " has the name ", shown(names[anyDuplicated(names)]), " twice in one list")
  keys <- vapply(names, quoted, "", USE.NAMES = FALSE)
  paste0("{", paste0(keys, if (length(parts)) ":", unlist(parts), collapse = ","), "}")
}

json_scalars <- function(value, where) {
  if (is.factor(value)) value <- as.character(value)
  texts <- if (inherits(value, "POSIXct")) {
    vapply(seq_along(value), function(index) time_text(value[index]), "")
  } else if (inherits(value, "Date")) {
    paste0("\"", format(value, "%Y-%m-%d"), "\"")
  } else if (inherits(value, "integer64")) {
    as.character(value)
  } else if (!is_plain(value)) {
    wrong(where, " holds a value of class ", class(value)[1],
          ": text, numbers, TRUE and FALSE, times and lists of them become JSON")
  } else if (is.logical(value)) {
    ifelse(value, "true", "false")
  } else if (is.numeric(value)) {
    number_texts(as.double(value))
  } else {
    quote_text <- function(text) if (is.na(text)) "null" else quoted(valid_text(text, where))
    vapply(value, quote_text, "", USE.NAMES = FALSE)
  }
  texts[is.na(value)] <- "null"
  texts
}

is_plain <- function(value) {
  (is.logical(value) || is.numeric(value) || is.character(value)) && (!is.object(value) || inherits(value, "AsIs"))
}

number_texts <- function(values) {
  texts <- rep("null", length(values))
  there <- is.finite(values)
  texts[there] <- sprintf("%.15g", values[there])
  other <- there
  other[there] <- as.numeric(texts[there]) != values[there]
  texts[other] <- sprintf("%.17g", values[other])
  texts
}

time_text <- function(time) {
  if (!is.finite(time)) "null" else paste0("\"", format_moment(moment_of_seconds(as.numeric(time))), "\"")
}

valid_text <- function(text, where) {
  if (!all(validEnc(text[!is.na(text)]))) {
    wrong(where, " has a text that is not valid in its encoding: iconv() mends it")
  }
  enc2utf8(text)
}
