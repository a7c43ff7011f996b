/** What AWS bills for, as a number of units. */
export interface Usage {
  /** Write units of DynamoDB, those of its indexes among them, and of these the units of indexes alone. */
  writes: number
  indexWrites: number
  /** Read units. */
  reads: number
  /** Requests to standard and to FIFO queues: each 64 KB count as one. */
  sqs: number
  fifo: number
  /** Requests to S3 that write or list, and those that read. */
  s3Puts: number
  s3Gets: number
  /** Requests to an HTTP API: each 512 KB count as one. */
  http: number
  /** Runs of functions, and the memory that they hold while they wait for calls. */
  runs: number
  waitingGbSeconds: number
  /** Calls of the AWS SDK. */
  calls: number
  /** Bytes of log lines. */
  logBytes: number
}

const NOTHING: Usage = {
  writes: 0,
  indexWrites: 0,
  reads: 0,
  sqs: 0,
  fifo: 0,
  s3Puts: 0,
  s3Gets: 0,
  http: 0,
  runs: 0,
  waitingGbSeconds: 0,
  calls: 0,
  logBytes: 0,
}

/**
 * List prices of us-east-1 in US dollars (aws.amazon.com/…/pricing, read in November 2026). Free tiers, data transfer and
 * CloudWatch's metrics and alarms are not counted.
 */
export const PRICES = {
  writeUnit: 0.625e-6,
  readUnit: 0.125e-6,
  sqsRequest: 0.4e-6,
  fifoRequest: 0.5e-6,
  s3Put: 5e-6,
  s3Get: 0.4e-6,
  httpRequest: 1e-6,
  run: 0.2e-6,
  /** Lambda on arm64. */
  gbSecond: 13.3334e-6,
  logByte: 0.5e-9,
  /** A month of a byte in DynamoDB, with point-in-time recovery beside it, and in S3. */
  tableByteMonth: 0.25e-9,
  recoveryByteMonth: 0.2e-9,
  s3ByteMonth: 0.023e-9,
}

/** Lambda allots one core at this memory. So a second of processor time costs the same with less memory. */
const CORE_GB = 1769 / 1024

/** Processor time of a call of the AWS SDK beside our own code: measured on warm connections, 0.35 to 0.4 ms. */
export const CALL_SECONDS = 0.00045

/** Bytes that Lambda itself logs for a run: START, END and REPORT. */
export const RUN_LOG_BYTES = 650

/** Dollars by kind of cost. */
export interface Price {
  writes: number
  reads: number
  sqs: number
  s3: number
  lambda: number
  http: number
  logs: number
  total: number
}

/** @param cpuSeconds processor time of our own code */
export const priceOf = (used: Usage, cpuSeconds = 0): Price => {
  const cpu = cpuSeconds + used.calls * CALL_SECONDS
  const parts = {
    writes: used.writes * PRICES.writeUnit,
    reads: used.reads * PRICES.readUnit,
    sqs: used.sqs * PRICES.sqsRequest + used.fifo * PRICES.fifoRequest,
    s3: used.s3Puts * PRICES.s3Put + used.s3Gets * PRICES.s3Get,
    lambda: (used.waitingGbSeconds + cpu * CORE_GB) * PRICES.gbSecond + used.runs * PRICES.run,
    http: used.http * PRICES.httpRequest,
    logs: used.logBytes * PRICES.logByte,
  }
  return { ...parts, total: Object.values(parts).reduce((sum, part) => sum + part, 0) }
}

/** Adds up the usage of each function. */
export class Meter {
  readonly #used = new Map<string, Usage>()
  readonly #calls = new Map<string, Usage>()
  readonly #functionOf: () => string

  /** @param functionOf returns the function that runs now, e.g. `storefront/submit`; `''` if none does */
  constructor(functionOf: () => string) {
    this.#functionOf = functionOf
  }

  /** @param call the call of the function, e.g. `Put storefront-piece` */
  add(
    usage: Partial<Usage>,
    { name = this.#functionOf(), call }: { name?: string; call?: string } = {},
  ): void {
    count(this.#used, name, usage)
    if (call !== undefined && name !== '') count(this.#calls, `${name} ${call}`, usage)
  }

  /** By function and call, e.g. `storefront/submit Put storefront-piece`. */
  get byCall(): ReadonlyMap<string, Usage> {
    return this.#calls
  }

  /** By function. What no function used, e.g. the calls of an agent to S3, is not there. */
  get byFunction(): ReadonlyMap<string, Usage> {
    return new Map([...this.#used].filter(([name]) => name !== ''))
  }

  get total(): Usage {
    return [...this.byFunction.values()].reduce(sumOf, NOTHING)
  }

  reset(): void {
    this.#used.clear()
    this.#calls.clear()
  }
}

const count = (used: Map<string, Usage>, key: string, usage: Partial<Usage>): void => {
  const sum = used.get(key) ?? { ...NOTHING }
  for (const [unit, units] of Object.entries(usage)) sum[unit as keyof Usage] += units
  used.set(key, sum)
}

export const sumOf = (one: Usage, other: Usage): Usage => {
  const sum = { ...one }
  for (const unit of Object.keys(sum) as (keyof Usage)[]) sum[unit] += other[unit]
  return sum
}
