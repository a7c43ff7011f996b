/** Runs a check, and prints its result. A failure makes the process end with 1, and the next check runs. */
export const check = async (title: string, run: () => Promise<void>) => {
  const start = performance.now()
  try {
    await run()
    console.log(`ok      ${title} (${((performance.now() - start) / 1000).toFixed(1)} s)`)
  } catch (cause) {
    process.exitCode = 1
    console.error(`FAILED  ${title}\n${(cause as Error).stack}`)
  }
}
