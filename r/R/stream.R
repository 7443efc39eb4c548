# What Python waits for at a time, and R between two waits: an interrupt is seen by R, within so long.
STEP_SECONDS <- 0.01
IDLE_STEP_SECONDS <- 0.002
IDLE_SECONDS <- 0.02

#' Read events batch by batch
#'
#' A stream gives its events in the order in which they were published, in batches, with memory that stays the same
#' however many there are. Where the connection or the server breaks off, the rest is asked for again, without a gap and
#' without a duplicate.
#'
#' @inheritParams events_ticket
#' @param con A connection.
#' @param payload `TRUE` turns the fields of `data` into columns, whose types are found in a sample; a named vector such
#'   as `c(total = "double", "items[].sku" = "character")` names fields and their types (`"double"`, `"integer"`,
#'   `"integer64"`, `"character"`, `"logical"`, `"POSIXct"`, `"Date"`). A value that does not fit is `NA`, and counted.
#'   With `follow = TRUE` the sample is what is there when the first event has come.
#' @param ... Must be empty; the options behind it are named in full.
#' @return `events_stream()`: a stream that has asked for nothing yet. Its `offset` and `history`, given to another
#'   stream as `after_offset` and `history`, are where that goes on. `events_next()`: the next batch as a data frame;
#'   `NULL` at the end; a frame without rows when nothing came within `wait` seconds. `events_each()`: how many events
#'   there were, invisibly.
#' @seealso [events_read()] for all in one data frame.
#' @examples
#' \dontrun{
#' stream <- events_stream(con, "Order", follow = TRUE)
#' batch <- events_next(stream, wait = 5)
#' events_close(stream)
#'
#' events_each(events_stream(con, "Order", "2026-01-01", "2026-01-31"), function(batch) print(nrow(batch)))
#' }
#' @export
events_stream <- function(con, entity, start = NULL, end = NULL, ..., limit = NULL, columns = NULL, event_types = NULL,
                          after_offset = NULL, history = NULL, batch_size = NULL, compression = NULL,
                          payload = NULL, follow = FALSE) {
  check_connection(con)
  check_no_more(...)
  if (missing(entity)) wrong("no entity type is named: write one such as \"Order\" behind con, or \"*\" for all")
  if (inherits(entity, "AsIs") && identical(as.character(entity), "*")) {
    wrong("the entity type named * can be asked for by events_ticket() only: read \"*\" and keep its rows")
  }
  ticket <- events_ticket(entity, start, end, limit, columns, event_types, after_offset, history, batch_size,
                          compression, follow)
  reading <- answered(bridge()$read(con$client, ticket, payload_types(payload), con$bigint), con$url)
  stream <- new.env(parent = emptyenv())
  stream$con <- con
  stream$ticket <- ticket
  stream$reading <- reading
  stream$closed <- FALSE
  stream$told <- ""
  take_note(stream, list(step = 0L, rows = 0, ended = FALSE, state = "not yet asked for"))
  stream$rows <- 0
  owner <- Sys.getpid()
  reg.finalizer(stream, function(stream) {
    if (!stream$closed && Sys.getpid() == owner) {
      try(stream$reading$close(), silent = TRUE)
      warn_of_misfits(stream)
    }
  })
  structure(stream, class = "fraiseql_events_stream")
}

#' @rdname events_stream
#' @param stream What `events_stream()` has given.
#' @param wait How many seconds to wait at the most.
#' @export
events_next <- function(stream, wait = Inf) {
  check_stream(stream)
  if (!is.numeric(wait) || length(wait) != 1 || is.na(wait) || wait < 0) {
    wrong("wait is ", shown(wait), ": seconds are expected, or Inf")
  }
  answer <- wait_for(stream, 1L, wait)
  if (answer$rows > 0) {
    frame <- frame_of(answer$columns, answer$rows)
    take_note(stream, answer)
    return(frame)
  }
  take_note(stream, answer)
  if (answer$ended) {
    events_close(stream)
    return(NULL)
  }
  whole_frame(stream, 0)
}

#' @rdname events_stream
#' @param f A function that is called with each batch; where it returns `FALSE`, that was the last.
#' @export
events_each <- function(stream, f) {
  check_stream(stream)
  if (missing(f)) wrong("f is missing: a function is expected, such as function(batch) print(nrow(batch))")
  if (!is.function(f)) wrong("f is ", shown(f), ": a function is expected, such as function(batch) print(nrow(batch))")
  on.exit(if (!stream$closed) events_close(stream))
  while (!stream$closed && !is.null(batch <- events_next(stream))) {
    if (isFALSE(f(batch))) break
  }
  invisible(stream$rows)
}

# What comes within so many seconds, up to about so many events. Python is never long at work: R sees interrupts.
wait_for <- function(stream, rows, wait, arrow = FALSE) {
  deadline <- proc.time()[[3]] + wait
  seconds <- STEP_SECONDS
  repeat {
    answer <- answered(stream$reading$take(stream$step, rows, seconds, arrow), stream$con$url)
    tell(stream, answer)
    if (answer$rows > 0 || answer$ended || proc.time()[[3]] >= deadline) return(answer)
    stream$step <- answer$step
    Sys.sleep(IDLE_SECONDS)
    seconds <- IDLE_STEP_SECONDS
  }
}

# R has the events of a step now: the stream goes on behind it.
take_note <- function(stream, answer) {
  stream$rows <- (if (is.null(stream$rows)) 0 else stream$rows) + answer$rows
  stream$ended <- answer$ended
  stream$state <- state_in_words_of_r(answer$state)
  stream$offset <- if (is.null(answer$offset)) NULL else number_or_text(answer$offset)
  stream$history <- answer$history
  stream$misfits <- answer$misfits
  stream$step <- answer$step
}

number_or_text <- function(digits) {
  number <- as.numeric(digits)
  if (number <= 2^53) number else digits
}

# Says once that the stream is asked for again, and that it goes on; and that a name is one that no event has.
tell <- function(stream, answer) {
  words <- state_in_words_of_r(answer$state)
  if (nzchar(answer$unknown) && !identical(answer$unknown, stream$unknown)) {
    stream$unknown <- answer$unknown
    warning(answer$unknown, call. = FALSE)
  }
  trouble <- startsWith(words, "asking again")
  if (trouble && stream$told == "") {
    stream$told <- words
    message("the stream is cut, ", words)
  } else if (!trouble && stream$told != "") {
    stream$told <- ""
    message("the stream goes on")
  }
}

warn_of_misfits <- function(stream) {
  if (stream$closed) return(invisible())
  for (path in names(stream$misfits)) {
    count <- stream$misfits[[path]]
    if (count > 0) {
      warning("of ", path, " ", count, " values do not fit its type: they are NA", call. = FALSE)
    }
  }
}

check_stream <- function(stream) {
  if (missing(stream)) wrong("stream is missing: ask for one, with stream <- events_stream(con, \"Order\")")
  if (!inherits(stream, "fraiseql_events_stream")) {
    wrong("stream is ", shown(stream), ": a stream is expected, from events_stream()")
  }
  check_alive(stream$reading, "stream")
  if (stream$closed) wrong("this stream is read already, or closed: ask events_stream() for another")
}

check_no_more <- function(...) {
  if (...length() > 0) {
    names <- names(match.call(expand.dots = FALSE)$...)
    known <- setdiff(names(formals(events_stream)), c("con", "..."))
    if (is.null(names) || !nzchar(names[1])) {
      wrong("there is an argument too many after end: the options are named, such as limit = 100")
    }
    wrong("there is no option ", names[1], near(names[1], known))
  }
}

payload_types <- function(payload) {
  if (is.null(payload) || isFALSE(payload)) return(NULL)
  if (isTRUE(payload)) return("infer")
  known <- c("double", "integer", "integer64", "character", "logical", "POSIXct", "Date")
  types <- as.list(payload)
  if (is.null(names(types)) || any(!nzchar(names(types)))) {
    wrong("payload is ", shown(payload), ": TRUE, or fields with their types such as c(total = \"double\")")
  }
  if (anyDuplicated(names(types))) wrong("payload names ", names(types)[anyDuplicated(names(types))], " twice")
  for (path in names(types)) check_choice(paste("the type of", path), types[[path]], known)
  types
}

#' @export
format.fraiseql_events_stream <- function(x, ...) {
  state <- if (x$ended) "read" else if (x$closed) "closed" else x$state
  so_far <- paste0(grouped(x$rows), " events, up to offset ", if (!is.null(x$offset)) grouped(x$offset))
  place <- if (is.null(x$offset)) "nothing yet" else so_far
  paste0("<fraiseql_events stream ", x$ticket, ": ", state, ", ", place, ">")
}

#' @export
print.fraiseql_events_stream <- function(x, ...) {
  cat(format(x), "\n", sep = "")
  invisible(x)
}
