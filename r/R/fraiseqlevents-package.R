#' Events of 'FraiseQL' as data frames
#'
#' Connect with [events_connect()], read with [events_read()], follow what happens with [events_stream()]. Without a
#' server, [events_serve()] starts one.
#'
#' @section Options and variables:
#' `FRAISEQL_EVENTS_URL` is the server's address and `FRAISEQL_EVENTS_TOKEN` what it wants of its clients, where
#' [events_connect()] names none. `RETICULATE_PYTHON` names the Python to use.
#'
#' @section Errors:
#' Each is one sentence, and a condition of class `fraiseql_events_error`; its other classes say of which kind it is, in
#' the words of the Python package: `InvalidArgument`, `ServerUnavailable`, `Unauthenticated`, `ServerError`,
#' `StreamCut`, and so on.
#' @keywords internal
"_PACKAGE"
