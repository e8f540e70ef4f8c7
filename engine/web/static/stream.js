// The line to the server: one EventSource, opened again by us whenever the browser gives it up, and doubted when silent.

const QUIET_MS = 20_000; // a quiet pool sends nothing; after so long we ask whether the server is still there
const PATIENCE_MS = 5_000;
const RETRY_MS = [500, 1_000, 2_000, 4_000, 8_000];

/**
 * Follows one pool until `close()`.
 * tell.view(view): a new state of the pool. tell.live(), tell.lost(): the connection is up, or down.
 * tell.token(): the server wants a token; the line is closed then.
 */
export function follow(url, tell) {
  let source = null;
  let timer = 0;
  let heard = 0;
  let failures = 0;
  let closed = false;

  function open() {
    if (closed) return;
    source?.close();
    source = new EventSource(url);
    heard = performance.now();
    source.addEventListener("open", () => {
      heard = performance.now();
    });
    source.addEventListener("view", (message) => {
      heard = performance.now();
      failures = 0;
      tell.live();
      tell.view(JSON.parse(message.data));
    });
    source.addEventListener("error", () => {
      tell.lost();
      if (source.readyState === EventSource.CLOSED) retry(); // an HTTP error: the browser will not try again by itself
    });
  }

  async function retry() {
    source?.close();
    clearTimeout(timer);
    if (closed) return;
    if ((await state()) === "token") {
      close();
      tell.token();
      return;
    }
    timer = setTimeout(open, RETRY_MS[Math.min(failures++, RETRY_MS.length - 1)]);
  }

  async function state() {
    try {
      const answer = await fetch("/v1/pools", { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE_MS) });
      return answer.status === 401 ? "token" : answer.ok ? "up" : "down";
    } catch {
      return "down";
    }
  }

  const watch = setInterval(async () => {
    if (closed || source?.readyState !== EventSource.OPEN || performance.now() - heard < QUIET_MS) return;
    heard = performance.now();
    if ((await state()) !== "up" && !closed) {
      tell.lost();
      retry();
    }
  }, 2_000);

  function close() {
    closed = true;
    clearTimeout(timer);
    clearInterval(watch);
    source?.close();
  }

  open();
  return { close };
}
