#' How a server is doing
#'
#' @param con A connection.
#' @return `events_status()`: a list of class `fraiseql_events_status`: the state of bridge and log, as the server tells
#'   it (`state`, `offset`, `lag`, ...). `events_entities()`: a data frame with a row for each entity type:
#'   `entity_type`, `events` (how many there are), `first` and `last` (their times, UTC).
#' @export
events_status <- function(con) {
  check_connection(con)
  text <- answered(bridge()$status(con$client), con$url)
  structure(jsonlite::fromJSON(text, simplifyDataFrame = FALSE), class = "fraiseql_events_status")
}

#' @rdname events_status
#' @export
events_entities <- function(con) {
  check_connection(con)
  found <- answered(bridge()$entities(con$client), con$url)
  frame_of(found$columns, found$rows)
}

#' @export
print.fraiseql_events_status <- function(x, ...) {
  simple <- x[vapply(x, function(value) is.atomic(value) && length(value) == 1, NA)]
  width <- max(nchar(names(simple)))
  for (name in names(simple)) {
    value <- simple[[name]]
    cat(formatC(name, width = -width), " ", if (is.numeric(value)) grouped(value) else format(value), "\n", sep = "")
  }
  invisible(x)
}
