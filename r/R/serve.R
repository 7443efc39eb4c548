SERVE_SECONDS <- 60
ORDER_SECONDS <- 10

#' Start a server of events
#'
#' Runs bridge and Flight server in a process of their own, with a NATS server embedded, so that no terminal is needed.
#' It ends with R, however that ends. [events_connect()] without an address connects to it.
#'
#' @param demo Whether a shop is opened in it, whose orders, users and products change; its first order is waited for.
#' @param store The folder that keeps the history; without one it is a temporary one, which goes with the server.
#' @param nats A NATS server to read from, instead of an embedded one.
#' @param listen Where to answer, `HOST:PORT`; port 0 takes a free one.
#' @param token What every client must bring.
#' @param rate How many events a second the shop makes, about.
#' @param seed Another one makes another shop.
#' @return A server with its address as `url`, to be stopped with [events_close()].
#' @examples
#' \dontrun{
#' server <- events_serve(demo = TRUE)
#' con <- events_connect()
#' events_read(con, "Order", payload = TRUE)
#' events_close(server)
#' }
#' @export
events_serve <- function(demo = FALSE, store = NULL, nats = NULL, listen = "127.0.0.1:0", token = NULL, rate = 20,
                         seed = 1) {
  check_flag("demo", demo)
  for (name in c("store", "nats", "listen", "token")) {
    check_one_text(name, get(name))
    if (identical(get(name), "")) wrong(name, " is empty: leave it out, or name one")
  }
  if (is.null(listen)) listen <- "127.0.0.1:0"
  if (is.null(seed)) seed <- 1
  if (demo && !is.null(nats)) wrong("demo = TRUE opens a shop on an embedded NATS server: leave nats out")
  if (!is.numeric(rate) || length(rate) != 1 || !is.finite(rate) || rate <= 0) {
    wrong("rate is ", shown(rate), ": events a second are expected, more than 0")
  }
  # a temporary one is the server's own, and not in tempdir(): a fork of R that ends with q() removes that
  arguments <- c("--listen", listen, if (!is.null(store)) c("--store", path.expand(store)))
  arguments <- c(arguments, if (is.null(nats)) "--embedded" else c("--nats", nats))
  if (demo) {
    seed <- whole_number("seed", seed, 0)
    arguments <- c(arguments, "--demo", "--rate", sprintf("%.15g", rate), "--seed", seed)
  }
  server <- new.env(parent = emptyenv())
  server$process <- answered(bridge()$serve(as.list(arguments), token))
  owner <- Sys.getpid()
  reg.finalizer(server, function(server) {
    if (Sys.getpid() == owner) try(server$process$close(), silent = TRUE)
  }, onexit = TRUE)
  server$url <- wait_until_ready(server)
  state$servers <- c(list(server), state$servers)
  state$tokens[[server$url]] <- token
  if (demo) wait_for_an_order(server$url)
  structure(server, class = "fraiseql_events_server")
}

# Of few events a second the first may be no order: the next line may ask for one.
wait_for_an_order <- function(url) {
  con <- events_connect(url)
  on.exit(events_close(con))
  end <- proc.time()[[3]] + ORDER_SECONDS
  while (!"Order" %in% events_entities(con)$entity_type && proc.time()[[3]] < end) Sys.sleep(IDLE_SECONDS)
}

wait_until_ready <- function(server) {
  on.exit(server$process$close())
  end <- proc.time()[[3]] + SERVE_SECONDS
  repeat {
    url <- answered(server$process$ready(STEP_SECONDS))
    if (!is.null(url)) {
      on.exit()
      return(url)
    }
    if (proc.time()[[3]] > end) fail("the server did not start within 60 seconds", "ServiceError")
    Sys.sleep(IDLE_SECONDS)
  }
}

#' @export
events_close.fraiseql_events_server <- function(x) {
  check_alive(x$process, "server")
  x$process$close()
  state$tokens[[x$url]] <- NULL
  state$servers <- Filter(function(server) server$url != x$url, state$servers)
  invisible(x)
}

#' @export
format.fraiseql_events_server <- function(x, ...) {
  check_alive(x$process, "server")
  running <- x$process$running()
  paste0("<fraiseql_events server at ", x$url, if (running) paste0(", process ", x$process$pid) else ", stopped", ">")
}

#' @export
print.fraiseql_events_server <- function(x, ...) {
  cat(format(x), "\n", sep = "")
  invisible(x)
}
