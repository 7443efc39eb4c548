DEFAULT_URL <- "grpc://localhost:50051"

#' Connect to a Flight server of events
#'
#' Nothing is sent before the first question. Starts Python, if it does not run yet.
#'
#' @param url The server's address, `grpc://HOST:PORT` or `grpc+tls://HOST:PORT`; without it that of the newest
#'   [events_serve()] of this session, then `FRAISEQL_EVENTS_URL`, then `grpc://localhost:50051`.
#' @param token What the server wants of its clients; without it `FRAISEQL_EVENTS_TOKEN`.
#' @param tls_roots A file of certificates (PEM) to trust, for `grpc+tls`; without it the system's.
#' @param bigint As what whole numbers of 64 bits come: `"numeric"`, which is exact up to 2^53 and text beyond (with a
#'   warning), `"integer64"` of package bit64, or `"character"`.
#' @return A connection, to be closed with [events_close()].
#' @examples
#' \dontrun{
#' con <- events_connect()
#' events_read(con, "Order", "2026-01-01", "2026-01-31")
#' events_close(con)
#' }
#' @export
events_connect <- function(url = NULL, token = NULL, tls_roots = NULL,
                           bigint = c("numeric", "integer64", "character")) {
  if (missing(bigint)) bigint <- "numeric"
  if (is.null(bigint)) wrong("bigint is NULL: it must be \"numeric\", \"integer64\" or \"character\"")
  check_choice("bigint", bigint, c("numeric", "integer64", "character"))
  if (bigint == "integer64" && !requireNamespace("bit64", quietly = TRUE)) {
    wrong("bigint = \"integer64\" needs the package bit64: install.packages(\"bit64\")")
  }
  check_one_text("token", token)
  check_one_text("tls_roots", tls_roots)
  if (is.null(url)) url <- default_url()
  check_one_text("url", url)
  if (is.null(token)) token <- state$tokens[[url]]
  if (!is.null(tls_roots) && !file.exists(tls_roots)) {
    wrong("there is no file ", shown(tls_roots), ": tls_roots names certificates (PEM)")
  }
  client <- answered(bridge()$connect(url, token, tls_roots), url)
  structure(
    list(url = client$url, client = client, bigint = bigint, place = new.env(parent = emptyenv())),
    class = "fraiseql_events_connection"
  )
}

default_url <- function() {
  for (server in state$servers) {
    if (server$process$running()) return(server$url)
  }
  url <- Sys.getenv("FRAISEQL_EVENTS_URL")
  if (nzchar(url)) url else DEFAULT_URL
}

check_one_text <- function(name, value) {
  if (!is.null(value) && (!is.character(value) || length(value) != 1 || is.na(value))) {
    wrong(name, " is ", shown(value), ": one text is expected")
  }
}

check_connection <- function(con) {
  if (missing(con)) wrong("con is missing: connect first, with con <- events_connect()")
  if (!inherits(con, "fraiseql_events_connection")) {
    wrong("con is ", shown(con), ": a connection is expected, from events_connect()")
  }
  check_alive(con$client, "connection")
}

#' @export
format.fraiseql_events_connection <- function(x, ...) {
  paste0("<fraiseql_events connection to ", x$url, ">")
}

#' @export
print.fraiseql_events_connection <- function(x, ...) {
  cat(format(x), "\n", sep = "")
  found <- tryCatch(events_entities(x), fraiseql_events_error = identity)
  if (inherits(found, "fraiseql_events_error")) {
    cat(conditionMessage(found), "\n", sep = "")
  } else if (nrow(found) == 0) {
    cat("no events yet\n")
  } else {
    cat(sprintf(
      "%-12s %12s events, %s to %s\n", found$entity_type, grouped(found$events),
      format(found$first, "%Y-%m-%d %H:%M"), format(found$last, "%Y-%m-%d %H:%M")
    ), sep = "")
  }
  invisible(x)
}

#' Close a connection, a stream or a server
#'
#' Again does nothing. A closed connection connects anew when it is used.
#'
#' @param x What [events_connect()], [events_stream()] or [events_serve()] has given.
#' @return `x`, invisibly.
#' @export
events_close <- function(x) {
  if (missing(x)) wrong("x is missing: a connection, a stream or a server is expected")
  UseMethod("events_close")
}

#' @export
events_close.default <- function(x) {
  wrong("x is ", shown(x), ": a connection, a stream or a server is expected")
}

#' @export
events_close.fraiseql_events_connection <- function(x) {
  check_alive(x$client, "connection")
  x$client$close()
  invisible(x)
}

#' @export
events_close.fraiseql_events_stream <- function(x) {
  check_alive(x$reading, "stream")
  warn_of_misfits(x)
  x$closed <- TRUE
  x$reading$close()
  invisible(x)
}
