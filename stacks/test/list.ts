import type { Resource, Stack } from './stack.ts'

/** Types without a property that a reviewer can judge: the uploaded code, and the look-up of a zone. */
const UNLISTED = ['aws:s3/bucketObjectv2:BucketObjectv2', 'pulumi-nodejs:dynamic:Resource']

/**
 * Returns the list of the resources in several stages: a block for each, with its type, its name, and a line for each
 * property. A line that does not hold for every stage ends with the stages that it holds for. Physical names are written
 * as the names of the resources.
 *
 * @example
 * aws:sqs/queue:Queue StorefrontSubmitDeadQueue
 *   delaySeconds: 0
 *   messageRetentionSeconds: 1209600
 */
export const listResources = (stacks: readonly Stack[]): string => {
  const all = stacks.map(({ app }) => app.stage)
  /** The stages of each line, by resource and line. */
  const blocks = new Map<string, Map<string, string[]>>()
  for (const { app, resources } of stacks)
    for (const resource of resources) {
      if (UNLISTED.includes(resource.type)) continue
      const heading = `${resource.type} ${resource.name}`
      const lines = blocks.get(heading) ?? new Map<string, string[]>()
      blocks.set(heading, lines)
      for (const line of [heading, ...propertiesOf(resource, app.stage)])
        lines.set(line, [...new Set(lines.get(line)).add(app.stage)])
    }
  const listed = [...blocks].sort(([a], [b]) => (a < b ? -1 : 1))
  return listed.map(([, lines]) => blockOf(lines, all)).join('\n')
}

const blockOf = (lines: Map<string, string[]>, all: readonly string[]) => {
  const [[, present] = ['', []]] = lines
  const written = [...lines].map(([line, stages], n) =>
    stages.length === (n === 0 ? all : present).length ? line : `${line}  [${stages.join(', ')}]`,
  )
  return `${written.slice(0, 1)}\n${written.slice(1).sort().join('\n')}\n`
}

/** Returns the names of the resources whose blocks differ between two lists. */
export const changedResources = (before: string, after: string): string[] => {
  const [old, now] = [before, after].map(
    list =>
      new Map(list.split('\n\n').map(block => [block.split('\n')[0]!.replace(/ {2}\[.*/, ''), block.trim()])),
  )
  return [...new Set([...old!.keys(), ...now!.keys()])].filter(name => old!.get(name) !== now!.get(name))
}

const propertiesOf = ({ name, inputs, retainOnDelete }: Resource, stage: string): string[] => {
  const { environment, s3Key: _, ...listed } = inputs
  // A private key.
  if (listed.type === 'SecureString') delete listed.value
  return [
    ...flatten(listed),
    ...(environment ? [['environment', Object.keys(environment.variables).sort().join(' ')] as const] : []),
    ...(retainOnDelete ? [['retained when the stage is removed', 'true'] as const] : []),
  ]
    .filter(([path, value]) => value !== '' && !path.endsWith('.Version'))
    .map(([path, value]) => [path, withoutStage(value, stage)])
    .filter(([path, value]) => path !== 'name' || value !== name)
    .map(([path, value]) => `  ${path}: ${value}`)
}

type Property = readonly [path: string, value: string]

/** Properties that look like JSON, but hold a pattern for log lines. */
const PATTERNS = ['accessLogSettings.format', 'pattern']

const flatten = (value: unknown, path = ''): Property[] => {
  if (isJson(value) && !PATTERNS.includes(path)) return flatten(JSON.parse(value), path)
  if (isStatement(value)) return [[path, describeStatement(value)]]
  if (typeof value !== 'object' || value === null) return [[path, `${value}`]]
  // A metric of an alarm or a graph, with its options: its parts mean nothing alone.
  if (Array.isArray(value) && /(^|\.)metric(s|Queries)$/.test(path))
    return value.map(part => [path, JSON.stringify(part)])
  // The order of statements, indexes and attributes means nothing, so their lines have no number.
  if (Array.isArray(value) && value.every(part => typeof part !== 'object')) return [[path, value.join(', ')]]
  if (Array.isArray(value))
    return value.every(isFlat)
      ? value.map(part => [path, describeFlat(part)])
      : value.flatMap(part => flatten(part, path))
  return Object.entries(value).flatMap(([key, part]) => flatten(part, path === '' ? key : `${path}.${key}`))
}

const isJson = (value: unknown): value is string => typeof value === 'string' && /^[{[]/.test(value)

/** Whether a value is one line of the list. */
const isFlat = (value: unknown) =>
  !isJson(value) &&
  !isStatement(value) &&
  Object.values(typeof value === 'object' ? (value ?? {}) : {}).every(
    part => typeof part !== 'object' && !isJson(part),
  )

const describeFlat = (value: unknown) =>
  typeof value !== 'object'
    ? `${value}`
    : Object.entries(value ?? {})
        .filter(([, part]) => part !== '')
        .map(([key, part]) => `${key} ${part}`)
        .join(', ')

interface Statement {
  Effect: string
  Action: string | string[]
  Resource?: string | string[]
  Principal?: unknown
  Condition?: unknown
}

const isStatement = (value: unknown): value is Statement =>
  typeof value === 'object' && value !== null && 'Effect' in value && 'Action' in value

const describeStatement = ({ Effect, Action, Resource = [], Principal, Condition }: Statement) =>
  [
    Effect,
    [Action].flat().join(', '),
    ...(Resource.length > 0 ? ['on', [Resource].flat().join(', ')] : []),
    ...(Principal ? ['for', JSON.stringify(Principal)] : []),
    ...(Condition ? ['if', JSON.stringify(Condition)] : []),
  ].join(' ')

/** Removes account, region, stage and the random end from physical names. */
const withoutStage = (text: string, stage: string) =>
  text
    .replaceAll(/arn:aws:(\w[\w-]*):[\w-]*:\d*:/g, '$1:')
    .replaceAll(new RegExp(`(w3filecoin-)?${stage}-`, 'g'), '')
    .replaceAll(`/${stage}/`, '/STAGE/')
    .replaceAll('-bdvfbzta', '')
