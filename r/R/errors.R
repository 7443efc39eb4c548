# One sentence of R for every error, whatever it came from: a condition that tells its kind by its classes.
fail <- function(message, kinds = character()) {
  classes <- c(kinds, "fraiseql_events_error", "error", "condition")
  stop(structure(class = unique(classes), list(message = message, call = NULL)))
}

wrong <- function(...) fail(paste0(...), "InvalidArgument")

# What the Python side answers, or its error as one of R, or an interrupt that came while it was at work.
answered <- function(call, url = NULL) {
  # R's own way of seeing an interrupt would leave reticulate in the midst of its work, which ends R at times
  answer <- suspendInterrupts(tryCatch(call, error = function(error) {
    # what reticulate says when an interrupt comes in the midst of its own work
    if (grepl("No such namespace", conditionMessage(error), fixed = TRUE)) list(interrupted = TRUE) else stop(error)
  }))
  if (isTRUE(answer$interrupted)) interrupt()
  if (is.null(answer$message)) {
    for (text in answer$warnings) warning(text, call. = FALSE)
    return(answer$value)
  }
  fail(in_words_of_r(answer$message, answer$kinds, url), answer$kinds)
}

# As if it had come while R was at work.
interrupt <- function() {
  Sys.sleep(0.01) # R may know of it, too, and there must not be two
  if (.Platform$OS.type == "unix") {
    tools::pskill(Sys.getpid(), tools::SIGINT)
    Sys.sleep(1)
  }
  signalCondition(structure(class = c("interrupt", "condition"), list(message = "", call = NULL)))
  invokeRestart("abort")
}

# The same sentence, with R's own ways of mending it.
in_words_of_r <- function(message, kinds, url) {
  if ("ServerUnavailable" %in% kinds && startsWith(message, "no server answers")) {
    return(paste0(
      "no server answers at ", url, ": start one with events_serve(), or name another: ",
      "events_connect(\"grpc://host:port\") or FRAISEQL_EVENTS_URL"
    ))
  }
  if ("Unauthenticated" %in% kinds) {
    return(paste0("the server at ", url, " wants a token, or another one: events_connect(token = ...) ",
                  "or FRAISEQL_EVENTS_TOKEN"))
  }
  message <- sub("`fraiseql-events serve --embedded`", "events_serve()", message, fixed = TRUE)
  gsub("--(listen|store|nats|token)\\b", "\\1 =", message)
}

# What a stream is doing, with R's own ways of mending it.
state_in_words_of_r <- function(words) {
  sub("start one with `.*", "start one with events_serve(), or wait for it", words)
}

# What a person may have meant.
near <- function(text, known) {
  if (length(known) == 0 || !is.character(text) || length(text) != 1 || is.na(text)) {
    return("")
  }
  distance <- utils::adist(text, known, ignore.case = TRUE)[1, ]
  best <- which.min(distance)
  if (distance[best] <= max(1, nchar(text) %/% 3)) paste0("; did you mean ", known[best], "?") else ""
}

# A value as a person would write it, cut where it is long; what nobody would write, by its class.
shown <- function(value) {
  texts <- if (is.atomic(value) && length(value) == 1 && is.na(value)) {
    if (is.nan(unclass(value))) "NaN" else "NA"
  } else if (is.factor(value)) {
    paste0("factor(", paste(deparse(as.character(value), width.cutoff = 60L), collapse = " "), ")")
  } else if (inherits(value, "Date")) {
    format(value, "%Y-%m-%d")
  } else if (inherits(value, "POSIXct")) {
    format(value, "%Y-%m-%dT%H:%M:%OSZ", tz = "UTC")
  } else if (inherits(value, "integer64")) {
    as.character(value)
  } else if (is.list(value) && !is.object(value)) {
    paste0("list(", paste(vapply(value, shown, ""), collapse = ", "), ")")
  } else if (has_no_spelling(value)) {
    paste("of class", class(value)[1])
  } else if (is.double(value) && length(value) == 1 && isTRUE(abs(value) < 1e15)) {
    format(unname(value), digits = 15, scientific = FALSE)
  } else {
    code <- paste(deparse(value, width.cutoff = 60L), collapse = " ")
    if (is.integer(value)) gsub("(?<=[0-9])L\\b", "", code, perl = TRUE) else code
  }
  text <- if (length(texts) == 1) texts else paste0("c(", paste(texts, collapse = ", "), ")")
  if (nchar(text) > 60) paste0(substr(text, 1, 59), "\u2026") else text
}

has_no_spelling <- function(value) {
  is.object(value) && !inherits(value, "AsIs") || is.function(value) || is.environment(value) || !is.null(dim(value))
}

# Numbers with commas between their thousands, whatever the session's own decimal sign is.
grouped <- function(numbers) format(numbers, big.mark = ",", decimal.mark = ".", scientific = FALSE)
