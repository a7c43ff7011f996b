import { Proof, type Report, type Storefront, verify, W3Error } from '@w3filecoin/client'
import { element } from './element.ts'
import { drawInclusion } from './merkle-drawing.ts'
import { badge, identifier, list, problem, section } from './parts.ts'

/**
 * Verifies a proof in this browser, and shows its claims. Nothing of a proof that is not valid is shown as a fact.
 *
 * @param file the content, to compare it with the proof
 */
export const proofView = async (
  source: Blob | Proof,
  {
    storefront,
    file,
    name = 'receipt',
  }: { storefront: Storefront; file?: File | undefined; name?: string | undefined },
): Promise<HTMLElement> => {
  try {
    const proof = await Proof.read(source)
    const report = await verify(proof, { storefront: await storefront.keys(), file })
    return describe(proof, report, name)
  } catch (error) {
    return refuse(error, file)
  }
}

const describe = (proof: Proof, report: Report, name: string): HTMLElement => {
  const { receipt, piece } = proof
  const download = name.endsWith('.w3proof') ? name : `${name}.w3proof`
  return section(
    'Proof',
    element('p', {}, badge('verified', 'Verified in this browser')),
    facts([
      ['Storefront', identifier(report.storefront)],
      ['Task', identifier(report.task, `/receipt/${report.task}`)],
      ['Content', identifier(report.content)],
      ['Piece', identifier(report.piece, `/?of=${report.piece}`)],
      ['Aggregate', identifier(report.aggregate)],
      ['On chain', report.place],
      ['File', report.file === 'same' ? badge('verified', 'the file has this piece') : 'not compared'],
    ]),
    element('h3', {}, 'It proves'),
    list(report.proves, 'proves'),
    element('h3', {}, 'It does not prove'),
    list(report.doesNotProve),
    element('h3', {}, 'The inclusion proof'),
    drawInclusion({ piece, inclusion: receipt.out.ok!.inclusion }),
    element('button', { type: 'button', click: () => proof.save(download) }, 'Download the proof'),
  )
}

/** Shows that a proof is not verified. A file that differs is another fault than a proof that is not valid. */
const refuse = (error: unknown, file: File | undefined): HTMLElement => {
  const isOther = error instanceof W3Error && error.code === 'FileMismatch'
  const title = isOther
    ? `${file?.name ?? 'The file'} is not the file of this proof`
    : 'This proof is not verified'
  return section('Proof', element('p', {}, badge('not verified')), problem(title, error))
}

export const facts = (entries: readonly [string, Node | string][]): HTMLElement =>
  element(
    'dl',
    {},
    ...entries.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  )
