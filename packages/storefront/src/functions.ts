import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

const functions = lambdaFunctions(createContext(process.env))

export const api = functions.api
export const submit = functions.queue('submit')
export const pieceOffer = functions.queue('pieceOffer')
export const accept = functions.queue('accept')
export const sweep = functions.schedule('sweep')
