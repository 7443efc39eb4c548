#' A stream as Arrow's record batches
#'
#' For the package arrow: `arrow::as_record_batch_reader(stream)` reads a stream of [events_stream()] without a copy,
#' and `arrow::as_arrow_table(stream)` all of it.
#'
#' @param x A stream that nothing has been read of.
#' @param ... Not used.
#' @return A `RecordBatchReader`, or a `Table`.
#' @name arrow
#' @exportS3Method arrow::as_record_batch_reader
as_record_batch_reader.fraiseql_events_stream <- function(x, ...) {
  check_stream(x)
  reader <- answered(x$reading$reader(), x$con$url)
  x$closed <- TRUE
  if (inherits(reader, "python.builtin.object")) reticulate::py_to_r(reader) else reader
}

#' @rdname arrow
#' @exportS3Method arrow::as_arrow_table
as_arrow_table.fraiseql_events_stream <- function(x, ...) {
  as_record_batch_reader.fraiseql_events_stream(x)$read_table()
}
