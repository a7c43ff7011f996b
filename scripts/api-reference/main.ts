// `npm run docs:api` writes packages/client/API.md from the types and docstrings of the client. test/api-reference.test.ts checks
// that it is up to date. TypeDoc works with the compiler of TypeScript 6, which only this folder has.
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import {
  Application,
  type Context,
  Converter,
  DeclarationReflection,
  Logger,
  LogLevel,
  ReflectionKind,
} from 'typedoc'
import type { PluginOptions } from 'typedoc-plugin-markdown'
import { readOptions } from '../../test/options.ts'

const HELP = `Writes packages/client/API.md: the reference of @w3filecoin/client, from its types and docstrings.

  npm run docs:api

  --help           print this
`

const CLIENT = new URL('../../packages/client/', import.meta.url)
/** The page with the reference. */
export const page = new URL('API.md', CLIENT)

/** The form of the page: plain Markdown, with tables for parameters and properties. */
const FORM: PluginOptions = {
  parametersFormat: 'table',
  interfacePropertiesFormat: 'table',
  classPropertiesFormat: 'table',
  typeAliasPropertiesFormat: 'table',
  typeDeclarationFormat: 'table',
  propertyMembersFormat: 'table',
  typeDeclarationVisibility: 'compact',
  tableColumnSettings: { leftAlignHeaders: true, hideModifiers: true, hideDefaults: true },
  useCodeBlocks: true,
  hideBreadcrumbs: true,
  hidePageHeader: true,
}

/** The paragraph below the title. */
const NOTE = `Every export, generated from the types and docstrings in \`src/\` by \`npm run docs:api\`: change the text there. The
[README](README.md) has an overview. \`PieceLink\` and \`UnknownLink\` are CIDs. \`Signer\`, \`Delegation\`, \`Invocation\` and
\`Verifier\` are types of \`@ucanto/interface\`.`

/** The reference, and the exports and parameters that lack a docstring. */
export interface ApiReference {
  markdown: string
  /** @example ['W3Error.name (Property), defined in @w3filecoin/client/error.ts, does not have any documentation'] */
  warnings: string[]
}

/** Collects the warnings of TypeDoc. */
class Warnings extends Logger {
  readonly warnings: string[] = []

  override log(message: string, level: LogLevel) {
    // A member of an anonymous type has the docstring of that type.
    if (level >= LogLevel.Warn && !message.includes('.__type.')) this.warnings.push(message)
  }
}

/** Generates the reference. */
export const generateApiReference = async (): Promise<ApiReference> => {
  const logger = new Warnings()
  await using directory = await mkdtempDisposable(join(tmpdir(), 'api-reference-'))
  const app = await Application.bootstrapWithPlugins({
    plugin: ['typedoc-plugin-markdown'],
    name: '@w3filecoin/client',
    entryPoints: [fileURLToPath(new URL('src/index.ts', CLIENT))],
    tsconfig: fileURLToPath(new URL('tsconfig.build.json', CLIENT)),
    out: directory.path,
    readme: 'none',
    logLevel: LogLevel.Warn,
    router: 'module',
    // `npm run typecheck` checks the types.
    skipErrorChecking: true,
    disableSources: true,
    excludeExternals: true,
    excludeInternal: true,
    excludePrivate: true,
    excludeProtected: true,
    groupOrder: ['Functions', 'Classes', '*'],
    validation: { notDocumented: true, notExported: false, invalidLink: true, unusedMergeModuleWith: true },
    packagesRequiringDocumentation: ['@w3filecoin/client', '@w3filecoin/capabilities', '@w3filecoin/piece'],
    requiredToBeDocumented: [
      'Class',
      'Interface',
      'TypeAlias',
      'Function',
      'Method',
      'Property',
      'GetSignature',
      'Variable',
      'Parameter',
    ],
    ...(FORM as object),
  })
  app.logger = logger
  // TypeDoc groups the members of a class after this event.
  app.converter.on(Converter.EVENT_RESOLVE_END, removeInherited, 1)
  const project = await app.convert()
  if (project === undefined) throw new Error(`The client cannot be read:\n${logger.warnings.join('\n')}`)
  app.validate(project)
  await app.generateOutputs(project)
  const markdown = await readFile(join(directory.path, 'README.md'), 'utf8')
  return {
    markdown: markdown.replace('\n', `\n\n${NOTE}\n`).replaceAll(/ +$/gm, ''),
    warnings: logger.warnings,
  }
}

/** Removes members that a class inherits: the page has them once, at the class that defines them. */
const removeInherited = ({ project }: Context): void => {
  for (const member of project.getReflectionsByKind(ReflectionKind.ClassMember))
    if (member instanceof DeclarationReflection && member.inheritedFrom) project.removeReflection(member)
}

if (import.meta.main) {
  readOptions({ script: 'docs:api', help: HELP, options: {} })
  const { markdown, warnings } = await generateApiReference()
  for (const warning of warnings) console.error(warning)
  await writeFile(page, markdown)
}
