import { lambdaFunctions } from '@w3filecoin/aws'
import { createContext } from './context.ts'

export const { api, update, sync, check } = lambdaFunctions(await createContext(process.env))
