# So long Python gathers what comes, before R looks whether it is interrupted.
GATHER_SECONDS <- 0.1

#' Read events into a data frame
#'
#' @inheritParams events_stream
#' @return A data frame (a tibble where that package is installed) with a row for each event, in the order in which they
#'   were published: `event_id`, `event_type`, `entity_type`, `entity_id` (text), `timestamp` (POSIXct in UTC, to the
#'   microsecond), `data` (JSON text), `user_id` and `org_id` (text or `NA`); with `payload` a column for each field.
#' @seealso [events_stream()] for more than fits into memory, and for what happens now.
#' @examples
#' \dontrun{
#' con <- events_connect()
#' events_read(con, "Order", "2026-01-01", "2026-01-31", payload = TRUE)
#' }
#' @export
events_read <- function(con, entity, start = NULL, end = NULL, ..., limit = NULL, columns = NULL, event_types = NULL,
                        after_offset = NULL, history = NULL, batch_size = NULL, compression = NULL, payload = NULL) {
  check_no_more(...)
  stream <- events_stream(
    con, entity, start, end, limit = limit, columns = columns, event_types = event_types, after_offset = after_offset,
    history = history, batch_size = batch_size, compression = compression, payload = payload
  )
  on.exit(events_close(stream))
  repeat {
    answer <- answered(stream$reading$gather(GATHER_SECONDS), con$url)
    tell(stream, answer)
    if (answer$ended) break
  }
  take_note(stream, answer)
  whole_frame(stream, stream$rows)
}

# What Python has gathered: each column in one go, for R's collector takes longer the more often it is called.
whole_frame <- function(stream, rows) {
  names <- as.character(stream$reading$names())
  columns <- lapply(names, function(name) decode_column(stream$reading$column(name), rows))
  as_frame(finish_columns(stats::setNames(columns, names)), rows)
}
