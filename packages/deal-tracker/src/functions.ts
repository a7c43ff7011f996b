import { type AllExported, lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const { api, update, sync } = functions

export type Complete = AllExported<typeof functions, typeof import('./functions.ts')>
