import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const api = functions.api
export const update = functions.queue('update')
export const sync = functions.schedule('sync')
