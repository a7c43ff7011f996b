import { simulateSeed } from './simulate.ts'

const [from = 1, count = 1] = process.argv.slice(2).map(Number)
for (let seed = from; seed < from + count; seed++) {
  const s = performance.now()
  const r = await simulateSeed(seed)
  console.log(
    seed,
    'offers',
    r.offers,
    'calls',
    r.calls,
    'took',
    (r.took / 3600000).toFixed(1),
    'h',
    (performance.now() - s).toFixed(0),
    'ms',
    r.trace.slice(0, 8),
    JSON.stringify([...r.injected]),
    r.violations.slice(0, 3),
  )
}
