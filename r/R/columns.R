# R's vectors out of what inst/python/fraiseqlevents_bridge/columns.py hands over.

# The columns of an answer as a data frame, or a tibble where that package is installed.
frame_of <- function(columns, rows) {
  as_frame(finish_columns(decode_columns(columns, rows)), rows)
}

decode_columns <- function(columns, rows) {
  lapply(columns, decode_column, rows = rows)
}

decode_column <- function(column, rows) {
  values <- switch(column$kind,
    text = text_values(column, rows),
    coded = as.character(unlist(column$levels))[readBin(column$bytes, "integer", rows)],
    integer = readBin(column$bytes, "integer", rows),
    logical = as.logical(readBin(column$bytes, "integer", rows)),
    integer64 = readBin(column$bytes, "double", rows),
    double = double_values(column, rows),
    date = double_values(column, rows),
    time = double_values(column, rows) / column$scale,
    list = list_values(column, rows),
    stop("unknown kind of column: ", column$kind)
  )
  kind <- if (column$kind == "coded") "text" else column$kind
  nul <- if (is.null(column$nul)) 0 else as.double(column$nul)
  list(kind = kind, values = values, nul = nul, large = isTRUE(column$large))
}

text_values <- function(column, rows) {
  values <- if (rows == 0) character() else as.character(unlist(column$list))
  values[missing_places(column)] <- NA_character_
  values
}

double_values <- function(column, rows) {
  values <- readBin(column$bytes, "double", rows)
  values[missing_places(column)] <- NA_real_
  values
}

missing_places <- function(column) {
  if (is.null(column$missing)) integer() else readBin(column$missing, "integer", length(column$missing) / 4)
}

list_values <- function(column, rows) {
  lengths <- readBin(column$lengths, "integer", rows)
  present <- ifelse(is.na(lengths), 0L, lengths)
  inner <- decode_column(column$values, sum(present))
  values <- with_class(inner$kind, inner$values)
  ends <- cumsum(present)
  each <- .mapply(function(first, last) values[seq_len(last - first) + first], list(ends - present, ends), NULL)
  each[is.na(lengths)] <- list(NULL)
  each
}

# With their class, and a warning where R cannot hold what is there.
finish_columns <- function(columns) {
  warn_of_columns(columns)
  lapply(columns, function(column) with_class(column$kind, column$values))
}

with_class <- function(kind, values) {
  switch(kind,
    time = .POSIXct(values, tz = "UTC"),
    date = structure(values, class = "Date"),
    integer64 = structure(values, class = "integer64"),
    values
  )
}

warn_of_columns <- function(columns) {
  for (name in names(columns)) {
    column <- columns[[name]]
    if (column$large) {
      warning(
        "column ", name, " has whole numbers beyond 2^53, or -2^63, and comes as text: ",
        "events_connect(bigint = \"integer64\") keeps those beyond 2^53 as numbers", call. = FALSE
      )
    }
    if (column$nul > 0) {
      warning(column$nul, " texts of column ", name, " held the character U+0000, which R's cannot hold: ",
              "U+FFFD stands in its place", call. = FALSE)
    }
  }
}

as_frame <- function(columns, rows) {
  frame <- structure(columns, class = "data.frame", row.names = .set_row_names(rows))
  if (requireNamespace("tibble", quietly = TRUE)) tibble::as_tibble(frame) else frame
}
