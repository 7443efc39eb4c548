# Moments, as a count of days since 1970-01-01 (UTC) and of microseconds of that day: R's numbers do not reach the
# microseconds of all years from 0001 to 9999.

DAY_SECONDS <- 86400
TIME_PATTERN <- paste0(
  "^([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\\.([0-9]+))?)?",
  "([Zz]|[+-][0-9]{2}:[0-9]{2})?$"
)
EXAMPLES <- "such as 2026-01-31 or 2026-01-31T12:00:00Z"
FIRST_DAY <- -719162
LAST_DAY <- 2932896

# A start, which is included, as a ticket spells it; NULL where it is open.
format_start <- function(value) {
  moment <- moment_of("start", value)
  if (is.null(moment)) return(NULL)
  if (moment$micros == 0) format_day(moment$day) else format_moment(moment)
}

# An end likewise: a date includes that whole day, a time is excluded.
format_end <- function(value) {
  moment <- moment_of("end", value)
  if (is.null(moment)) return(NULL)
  if (moment$is_date) return(format_day(moment$day))
  if (moment$micros == 0 && moment$day > FIRST_DAY) format_day(moment$day - 1) else format_moment(moment)
}

# The moment at which a range ends, which it does not include; and that at which it starts.
is_before <- function(start, end) {
  start <- moment_of("start", start)
  end <- moment_of("end", end)
  if (is.null(start) || is.null(end)) return(TRUE)
  day <- end$day + end$is_date
  start$day < day || (start$day == day && start$micros <= end$micros)
}

moment_of <- function(which, value) {
  if (is.null(value)) return(NULL)
  if (inherits(value, "POSIXlt")) value <- as.POSIXct(value)
  if (length(value) == 1 && is.atomic(value) && is.na(value)) {
    wrong(which, " is NA: leave it out for a range that is open there")
  }
  if (is.factor(value)) wrong(which, " is ", shown(value), ": as.character() makes text of a factor")
  if (length(value) != 1 || !(is.character(value) || inherits(value, c("Date", "POSIXct")))) {
    wrong(which, " is ", shown(value), ": one Date, POSIXct or text is expected, ", EXAMPLES)
  }
  moment <- if (inherits(value, "Date")) {
    moment_of_date(value)
  } else if (inherits(value, "POSIXct")) {
    moment_of_seconds(as.numeric(value))
  } else {
    moment_of_text(which, value)
  }
  if (!is.finite(moment$day) || moment$day < FIRST_DAY || moment$day > LAST_DAY) {
    wrong(which, " ", shown(value), " is outside the years 0001 to 9999 in UTC")
  }
  moment
}

moment_of_date <- function(value) {
  list(day = floor(as.numeric(value)), micros = 0, is_date = TRUE)
}

moment_of_seconds <- function(seconds, is_date = FALSE) {
  day <- floor(seconds / DAY_SECONDS)
  micros <- round((seconds - day * DAY_SECONDS) * 1e6)
  if (is.finite(micros) && micros == DAY_SECONDS * 1e6) {
    day <- day + 1
    micros <- 0
  }
  list(day = day, micros = micros, is_date = is_date)
}

moment_of_text <- function(which, text) {
  if (grepl("^[0-9]{4}-[0-9]{2}-[0-9]{2}$", text)) {
    day <- day_of_text(text)
    if (is.na(day)) wrong(which, " ", shown(text), " is not a date that exists")
    return(list(day = day, micros = 0, is_date = TRUE))
  }
  parts <- regmatches(text, regexec(TIME_PATTERN, text, perl = TRUE))[[1]]
  if (length(parts) == 0) wrong(which, " ", shown(text), " is neither a date nor an RFC 3339 time, ", EXAMPLES)
  day <- day_of_text(parts[2])
  clock <- as.numeric(parts[3:5])
  clock[is.na(clock)] <- 0
  leap <- clock[3] == 60
  zone <- zone_seconds(parts[7])
  seconds <- clock[1] * 3600 + clock[2] * 60 + clock[3] - zone
  exists <- clock[1] <= 23 && clock[2] <= 59 && clock[3] <= 60 && !is.na(zone) && !is.na(day)
  if (!exists || (leap && seconds %% DAY_SECONDS != 0)) {
    wrong(which, " ", shown(text), " is not a time that exists")
  }
  fraction <- if (leap) 0 else as.numeric(substr(paste0(parts[6], "000000"), 1, 6))
  list(day = day + seconds %/% DAY_SECONDS, micros = (seconds %% DAY_SECONDS) * 1e6 + fraction, is_date = FALSE)
}

# NA where there is no such date: R would take the 30th of February for the 2nd of March, or leave digits out.
day_of_text <- function(text) {
  numbers <- as.integer(strsplit(text, "-", fixed = TRUE)[[1]])
  if (numbers[1] < 1) return(NA_real_)
  day <- suppressWarnings(as.numeric(as.Date(ISOdate(numbers[1], numbers[2], numbers[3], tz = "UTC"))))
  if (is.na(day) || format_day(day) != text) NA_real_ else day
}

zone_seconds <- function(zone) {
  if (zone %in% c("", "Z", "z")) return(0)
  hours <- as.numeric(substr(zone, 2, 3))
  minutes <- as.numeric(substr(zone, 5, 6))
  if (hours > 23 || minutes > 59) return(NA_real_)
  (hours * 3600 + minutes * 60) * if (startsWith(zone, "-")) -1 else 1
}

format_day <- function(day) {
  date <- as.POSIXlt(as.Date(day, origin = "1970-01-01"))
  sprintf("%04d-%02d-%02d", as.integer(date$year + 1900), as.integer(date$mon + 1), as.integer(date$mday))
}

format_moment <- function(moment) {
  seconds <- moment$micros %/% 1e6
  fraction <- moment$micros %% 1e6
  paste0(
    format_day(moment$day), sprintf("T%02d:%02d:%02d", seconds %/% 3600, seconds %/% 60 %% 60, seconds %% 60),
    if (fraction > 0) sprintf(".%06d", fraction), "Z"
  )
}
