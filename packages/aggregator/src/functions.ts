import { type AllExported, lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const { api, piece, seal, include, deal, conclude, sweep } = functions

export type Complete = AllExported<typeof functions, typeof import('./functions.ts')>
