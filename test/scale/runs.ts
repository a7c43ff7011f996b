import { readFileSync } from 'node:fs'
import type { FunctionSpec, Resources } from '@w3filecoin/runtime/resources'

/** A run of a function on this machine, as `measured-functions.ts` reports it. */
export interface RunReport {
  /** @example 'dealer/fill' */
  name: string
  /** Its timeout in seconds, and its memory in MB of 2^20 bytes. */
  spec: Pick<FunctionSpec, 'timeout' | 'memory'>
  /** In milliseconds since 1970. */
  startedAt: number
  ms: number
  /** Whether it threw, returned a message that failed, or answered a request with a status of 500 or more. */
  isFailed: boolean
  /** Present if the run had a process for itself. */
  use?: Use | undefined
}

/** The resources that a run used. All are undefined where Linux does not report them. */
export interface Use {
  /** The most memory of its process so far. */
  peakBytes: number
  /** Bytes that it read and wrote, in files and connections. */
  readBytes?: number | undefined
  writtenBytes?: number | undefined
}

/** The runs of one function. */
export interface MeasuredRuns extends Use {
  spec: RunReport['spec']
  runs: number
  failed: number
  longestMs: number
  /** Start of the first run, and end of the last one, in milliseconds since 1970. */
  firstAt: number
  lastAt: number
}

/** Adds up the reports of runs that arrive at a channel, by the name of the function. */
export const collectRuns = (channel: string): { runs: Map<string, MeasuredRuns>; close: () => void } => {
  const runs = new Map<string, MeasuredRuns>()
  const reports = new BroadcastChannel(channel)
  reports.onmessage = ({ data }: { data: RunReport }) => {
    const { name, spec, startedAt, ms, isFailed, use } = data
    const known = runs.get(name)
    runs.set(name, {
      spec,
      runs: (known?.runs ?? 0) + 1,
      failed: (known?.failed ?? 0) + Number(isFailed),
      longestMs: Math.max(known?.longestMs ?? 0, ms),
      firstAt: Math.min(known?.firstAt ?? Infinity, startedAt),
      lastAt: Math.max(known?.lastAt ?? 0, startedAt + ms),
      peakBytes: Math.max(known?.peakBytes ?? 0, use?.peakBytes ?? 0),
      readBytes: (known?.readBytes ?? 0) + (use?.readBytes ?? 0),
      writtenBytes: (known?.writtenBytes ?? 0) + (use?.writtenBytes ?? 0),
    })
  }
  return { runs, close: () => reports.close() }
}

/** Returns the limits of a function of a service. */
export const specOf = ({ api, queues, schedules }: Resources, name: string): RunReport['spec'] => {
  const { timeout, memory } = name === 'api' ? api : (queues[name] ?? schedules[name])!.run
  return { timeout, memory }
}

/** Bytes that this process has read and written so far. Linux only. */
export const countBytes = (): { readBytes: number; writtenBytes: number } | undefined => {
  try {
    const counts = readFileSync('/proc/self/io', 'utf8')
    const countOf = (name: string) => Number(new RegExp(`^${name}: (\\d+)$`, 'm').exec(counts)?.[1])
    return { readBytes: countOf('rchar'), writtenBytes: countOf('wchar') }
  } catch {
    return undefined
  }
}
