// Asking the server, and its events.

export class Refused extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function answer(response) {
  if (response.ok) return response;
  throw new Refused(response.status, (await response.text()).slice(0, 1000) || response.statusText);
}

async function send(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the dashboard's server does not answer: has it ended?");
  }
}

export async function get(path, parameters = {}, signal = undefined) {
  return (await answer(await send(`api/${path}?${new URLSearchParams(parameters)}`, { signal }))).json();
}

export async function post(path, body) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return (await answer(await send(`api/${path}`, options))).json();
}

// A picture and what the headers say of it. Throws Refused with the reason why there is none.
export async function picture(parameters, signal) {
  const response = await answer(await send(`api/picture?${new URLSearchParams(parameters)}`, { signal }));
  const of = (name) => response.headers.get(name);
  const blob = await response.blob();
  return { url: URL.createObjectURL(blob), slices: of("X-Slices") && Number(of("X-Slices")), at: of("X-At") && Number(of("X-At")), said: of("X-Said") };
}

// Events of one view. A browser connects again by itself, but not if it was refused: then this does, and says so.
export class Events {
  #source = null;
  #timer = 0;

  constructor(heard, state) {
    Object.assign(this, { heard, state });
  }

  follow(view, store) {
    this.close();
    const source = new EventSource(`api/events?${new URLSearchParams({ view, store })}`);
    this.#source = source;
    source.onopen = () => this.state("live");
    source.onmessage = (event) => this.heard(JSON.parse(event.data));
    source.onerror = async () => {
      if (source !== this.#source) return;
      this.state("lost");
      if (source.readyState !== EventSource.CLOSED) return;
      const over = await get("session").then(() => false, (error) => error.status === 401);
      if (source !== this.#source) return;
      if (over) this.state("over");
      this.#timer = setTimeout(() => this.follow(view, store), 3000);
    };
  }

  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
