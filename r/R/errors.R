# One sentence of R for every error, whatever it came from: a condition that tells its kind by its classes.
fail <- function(message, kinds = character()) {
  classes <- c(kinds, "fraiseql_events_error", "error", "condition")
  stop(structure(class = unique(classes), list(message = message, call = NULL)))
}

wrong <- function(...) fail(paste0(...), "InvalidArgument")

# What the Python side has answered, or its error as one of R.
answered <- function(answer, url = NULL) {
  if (is.null(answer$message)) {
    return(answer$value)
  }
  fail(in_words_of_r(answer$message, answer$kinds, url), answer$kinds)
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
  message
}

# What a person may have meant.
near <- function(text, known) {
  if (length(known) == 0 || !is.character(text) || length(text) != 1) {
    return("")
  }
  distance <- utils::adist(text, known, ignore.case = TRUE)[1, ]
  best <- which.min(distance)
  if (distance[best] <= max(1, nchar(text) %/% 3)) paste0("; did you mean ", known[best], "?") else ""
}

# A value as a person would write it, cut where it is long.
shown <- function(value) {
  text <- paste(deparse(value, width.cutoff = 60L), collapse = " ")
  if (nchar(text) > 60) paste0(substr(text, 1, 59), "\u2026") else text
}
