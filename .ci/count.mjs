// node .ci/count.mjs RESULTS OUTCOME prints "N passed, N failed" from the JSON that vitest wrote. A file that could not be
// loaded, a run without tests and one that vitest itself did not end well (OUTCOME is not "ok", as after an error outside
// any test) are failures too, even where no single test failed. The failed tests are named again at the end: their own lines are far above.
import { readFileSync } from 'node:fs'

function read(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    console.log(`The tests left no result: ${error.message}`)
    return { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults: [] }
  }
}

const [path, outcome] = process.argv.slice(2)
const run = read(path)
const passed = run.numPassedTests
let failed = run.numFailedTests

for (const file of run.testResults) {
  for (const { status, fullName, failureMessages } of file.assertionResults)
    if (status === 'failed') console.log(`Failed: ${file.name}: ${fullName}\n${failureMessages.join('\n')}`)
  if (file.status === 'failed' && !file.assertionResults.some(test => test.status === 'failed')) {
    console.log(`Counted as a failure: ${file.name} ${file.message}`)
    failed++
  }
}
if (failed === 0 && (passed === 0 || outcome !== 'ok')) {
  console.log(
    `Counted as a failure: ${passed === 0 ? 'no test passed' : 'vitest ended with an error, see above'}.`,
  )
  failed++
}

const skipped = run.numPendingTests + run.numTodoTests
if (skipped > 0) console.log(`(${skipped} skipped)`)
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
