import { type AnyLink, type Storefront, verifyInclusion } from '@w3filecoin/client'
import { element } from './element.ts'
import { drawInclusion } from './merkle-drawing.ts'
import { badge, dealsSection, identifier, placesSection, problem, section } from './parts.ts'

/** Shows the public facts about a piece: its aggregates, each with its inclusion proof, and their places on chain. */
export const pieceView = async (storefront: Storefront, piece: AnyLink): Promise<HTMLElement[]> => {
  const { aggregates, deals, places } = await storefront.info(piece)
  return [
    section(
      'Piece',
      element('p', {}, identifier(`${piece}`)),
      aggregates.length === 0
        ? element('p', {}, badge('waiting', 'It is not in an aggregate yet'))
        : element(
            'p',
            {},
            `It is or was in ${aggregates.length === 1 ? 'one aggregate' : `${aggregates.length} aggregates`}.`,
          ),
    ),
    ...aggregates.map(({ aggregate, inclusion }) => {
      const { error } = verifyInclusion({ piece, aggregate, inclusion })
      return section(
        'Aggregate',
        element('p', {}, identifier(`${aggregate}`)),
        element('p', {}, error ? badge('not verified') : badge('verified', 'The piece is in this aggregate')),
        error ? problem('The inclusion proof is not valid', error) : drawInclusion({ piece, inclusion }),
      )
    }),
    ...(deals.length > 0 ? [dealsSection(deals, storefront.did)] : []),
    ...(places?.length ? [placesSection(places, storefront.did)] : []),
  ]
}
