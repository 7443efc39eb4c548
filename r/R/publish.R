#' Publish rows as events
#'
#' Every row is checked before the first is sent: where one is no event, nothing is published.
#'
#' @param con A connection; its server says which NATS server it reads from.
#' @param data A data frame whose columns are an event's fields: `event_id`, `event_type`, `entity_type`, `entity_id`
#'   (text), `timestamp` (POSIXct, or RFC 3339 text), `data` (JSON text, or a list or data frame whose rows become JSON
#'   objects), and if wanted `user_id` and `org_id` (text or `NA`).
#' @param nats Another NATS server's address.
#' @return How many events were published, invisibly.
#' @examples
#' \dontrun{
#' events_publish(con, data.frame(
#'   event_id = c("e1", "e2"), event_type = "Order.Created", entity_type = "Order", entity_id = c("1", "2"),
#'   timestamp = Sys.time(), data = I(list(list(total = 12.5), list(total = 7)))
#' ))
#' }
#' @export
events_publish <- function(con, data, nats = NULL) {
  check_connection(con)
  check_one_text("nats", nats)
  if (!is.data.frame(data)) wrong("data is ", shown(data), ": a data frame is expected, a row an event")
  columns <- Map(publishable, names(data), data)
  count <- answered(bridge()$publish(con$client, unname(columns), nats), con$url)
  invisible(count)
}

# A column as Python takes it: R's NA would arrive there as a text or as TRUE.
publishable <- function(name, values) {
  if (name == "data" && (is.list(values) || is.data.frame(values))) values <- json_of_each(values)
  if (inherits(values, "POSIXlt")) values <- as.POSIXct(values)
  missing <- which(is.na(values))
  kind <- "text"
  if (inherits(values, "POSIXct")) {
    kind <- "micros"
    values <- sprintf("%.0f", round(as.numeric(values) * 1e6))
  } else if (is.logical(values) && all(is.na(values))) {
    values <- character(length(values))
  } else if (is.factor(values) || is.character(values) || inherits(values, "integer64")) {
    values <- enc2utf8(as.character(values))
  } else if (is.numeric(values) && all(is.na(values) | values == floor(values))) {
    values <- sprintf("%.0f", as.numeric(values))
  } else {
    wrong("column ", name, " is of class ", class(values)[1], ": text",
          if (name == "timestamp") ", or POSIXct for times," else "", " is expected")
  }
  values[missing] <- ""
  list(name = name, kind = kind, values = as.list(values), missing = as.list(missing - 1L))
}

# Each row as JSON text, with every number exactly as R has it.
json_of_each <- function(values) {
  rows <- if (is.data.frame(values)) lapply(seq_len(nrow(values)), function(row) as.list(values[row, , drop = FALSE])) else values
  vapply(rows, json_text, "", USE.NAMES = FALSE)
}

json_text <- function(value) {
  if (is.list(value) && length(value) == 0) return("{}")
  value <- if (is.list(value)) rapply(value, exact_numbers, classes = "numeric", how = "replace") else exact_numbers(value)
  as.character(jsonlite::toJSON(
    value, auto_unbox = TRUE, null = "null", na = "null", POSIXt = "ISO8601", UTC = TRUE, json_verbatim = TRUE
  ))
}

# Numbers as JSON, in as few digits as give the same number again; jsonlite has 15 of them at the most.
exact_numbers <- function(values) {
  if (!is.double(values) || is.object(values)) return(values)
  digits <- sprintf("%.15g", values)
  other <- is.finite(values) & as.numeric(digits) != values
  digits[other] <- sprintf("%.17g", values[other])
  digits[!is.finite(values)] <- "null"
  text <- if (length(digits) == 1) digits else paste0("[", paste(digits, collapse = ","), "]")
  structure(text, class = "json")
}
