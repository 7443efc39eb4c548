# R's collector does not see how large batches are: after so many, those that nobody has any more are to go.
GIVEN_BATCHES <- 32L

#' A stream as Arrow's record batches
#'
#' For the package arrow (9.0.0 or newer): `arrow::as_record_batch_reader(stream)` reads a stream of [events_stream()]
#' without a copy, and `arrow::as_arrow_table(stream)` all of it.
#'
#' R itself asks for each batch, so a reader is read by a query's `collect()`, `compute()` and the like, and not by
#' another reader or a Scanner made of it.
#'
#' @param x A stream; of one that something has been read of, what comes behind that.
#' @param ... Not used.
#' @return A `RecordBatchReader`, or a `Table`.
#' @name arrow
#' @exportS3Method arrow::as_record_batch_reader
as_record_batch_reader.fraiseql_events_stream <- function(x, ...) {
  check_stream(x)
  wait_for_types(x)
  arrow::as_record_batch_reader(record_batches(x), schema = to_r(x$reading$schema))
}

#' @rdname arrow
#' @exportS3Method arrow::as_arrow_table
as_arrow_table.fraiseql_events_stream <- function(x, ...) {
  as_record_batch_reader.fraiseql_events_stream(x)$read_table()
}

# R's own thread asks for each batch, whichever thread of arrow's wants it: one that asked Python itself would wait for
# ever with a reticulate before 1.39, where R's thread holds Python's lock. And R sees interrupts, and tells errors, as
# always. It is no function of the method's own frame: that knows its caller's, and with it the reader, which then none
# ever frees.
record_batches <- function(stream) {
  force(stream)
  given <- 0L
  function() {
    given <<- (given + 1L) %% GIVEN_BATCHES
    if (given == 0L) gc(full = FALSE)
    next_record_batch(stream)
  }
}

# The next batch as arrow takes it; NULL at the end.
next_record_batch <- function(stream) {
  if (stream$ended && stream$closed) return(NULL)
  check_stream(stream)
  answer <- wait_for(stream, 1L, Inf, arrow = TRUE)
  batch <- if (answer$rows > 0) to_r(answer$batch)
  take_note(stream, answer)
  if (is.null(batch)) events_close(stream)
  batch
}

# A follow that finds the types of its fields has its columns with the first event.
wait_for_types <- function(stream) {
  while (!isTRUE(answered(stream$reading$has_types(STEP_SECONDS), stream$con$url))) Sys.sleep(IDLE_SECONDS)
}

# Older versions of reticulate leave to their callers what the package arrow makes of Python's objects.
to_r <- function(object) {
  if (inherits(object, "python.builtin.object")) reticulate::py_to_r(object) else object
}
