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
  if (missing(data)) wrong("data is missing: a data frame is expected, a row an event")
  if (!is.data.frame(data)) wrong("data is ", shown(data), ": a data frame is expected, a row an event")
  check_fields(names(data))
  columns <- Map(publishable, names(data), data)
  count <- answered(bridge()$publish(con$client, unname(columns), nats), con$url)
  invisible(count)
}

FIELDS <- c("event_id", "event_type", "entity_type", "entity_id", "timestamp", "data")

check_fields <- function(names) {
  known <- c(FIELDS, "user_id", "org_id")
  for (name in setdiff(names, c(known, "offset"))) {
    wrong("an event has no field ", name, near(name, known), "; it has ", paste(known, collapse = ", "))
  }
  if (anyDuplicated(names)) wrong("there are two columns ", names[anyDuplicated(names)])
  missing <- setdiff(FIELDS, names)
  if (length(missing) > 0) {
    wrong("there is no column ", paste(missing, collapse = ", "), ": an event needs ", paste(FIELDS, collapse = ", "))
  }
}

# A column as Python takes it: R's NA would arrive there as a text or as TRUE.
publishable <- function(name, values) {
  if (name == "data" && (is.list(values) || is.data.frame(values))) values <- json_of_each(values)
  if (inherits(values, "POSIXlt")) values <- as.POSIXct(values)
  if (!is.null(dim(values)) || is.list(values)) {
    wrong("column ", name, " is of class ", class(values)[1], ": a vector is expected")
  }
  missing <- which(is.na(values))
  kind <- "text"
  if (inherits(values, "POSIXct")) {
    infinite <- which(is.infinite(values))
    if (length(infinite) > 0) wrong("column ", name, " has a time that is infinite, in row ", infinite[1])
    kind <- "micros"
    values <- sprintf("%.0f", round(as.numeric(values) * 1e6))
  } else if (is.logical(values) && all(is.na(values))) {
    values <- character(length(values))
  } else if (is.factor(values) || is.character(values) || inherits(values, "integer64")) {
    values <- valid_text(as.character(values), paste("column", name))
  } else if (is.numeric(values) && !is.object(values) && all(is.na(values) | are_whole(values))) {
    if (any(abs(values) > 2^53, na.rm = TRUE)) {
      wrong("column ", name, " has a number beyond 2^53, where R's numbers have gaps: read it as text")
    }
    values <- sprintf("%.0f", as.numeric(values))
  } else {
    wrong("column ", name, " is of class ", class(values)[1], ": text",
          if (name == "timestamp") ", or POSIXct for times," else "", " is expected")
  }
  values[missing] <- ""
  list(name = name, kind = kind, values = as.list(values), missing = as.list(missing - 1L))
}

are_whole <- function(values) is.finite(values) & values == floor(values)

json_of_each <- function(values) {
  if (is.data.frame(values)) return(vapply(seq_len(nrow(values)), function(row) json_text(row_of(values, row)), ""))
  vapply(unclass(values), json_text, "", USE.NAMES = FALSE)
}
