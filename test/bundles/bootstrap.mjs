// Runs a function as the runtime of Lambda does: imports its bundle, then handles one event at a time. Its parent process copies it
// beside the code of a function, where no module of the repository can be found.
import { pathToFileURL } from 'node:url'

const [file, handler] = process.env._HANDLER.split('.')
const before = process.cpuUsage()
const began = performance.now()
const functions = await import(pathToFileURL(`${process.cwd()}/${file}.mjs`).href)
const run = functions[handler]
const { user, system } = process.cpuUsage(before)
if (typeof run !== 'function') throw new Error(`The bundle exports no function ${handler}`)
process.send({ initMs: performance.now() - began, initCpuMs: (user + system) / 1000 })

process.on('message', async ({ event, context: { remainingMs, ...context } }) => {
  const end = performance.now() + remainingMs
  const getRemainingTimeInMillis = () => Math.max(0, end - performance.now())
  try {
    const result = await run(event, { ...context, getRemainingTimeInMillis })
    process.send({ result: result ?? null, maxRssMB: maxRssMB() })
  } catch (error) {
    process.send({ error: error?.stack ?? String(error), maxRssMB: maxRssMB() })
  }
})

// The check has ended.
process.on('disconnect', () => process.exit())

const maxRssMB = () => process.resourceUsage().maxRSS / 1024
