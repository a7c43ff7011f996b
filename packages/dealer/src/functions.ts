import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const api = functions.api
export const track = functions.queue('track')
export const report = functions.queue('report')
export const retry = functions.queue('retry')
export const conclude = functions.queue('conclude')
export const sweep = functions.schedule('sweep')
