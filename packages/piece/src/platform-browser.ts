/** Browsers and workers have no native modules. */
export const loadHashtree = (): undefined => undefined

/** Lets the event loop run other work. Not by `setTimeout`, which browsers delay by 4 ms after some calls. */
export const yieldTurn = (): Promise<void> =>
  new Promise(resolve => {
    const { port1, port2 } = new MessageChannel()
    port1.addEventListener('message', () => {
      port1.close()
      resolve()
    })
    port1.start()
    port2.postMessage(undefined)
  })
