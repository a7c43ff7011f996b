import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const api = functions.api
export const piece = functions.queue('piece')
export const seal = functions.queue('seal')
export const include = functions.queue('include')
export const aggregateOffer = functions.queue('aggregateOffer')
export const conclude = functions.queue('conclude')
export const sweep = functions.schedule('sweep')
