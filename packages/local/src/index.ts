export { DEAL_WAYS, type DealWay } from './deals/deal-making.ts'
export type { Address, Identity } from './identity.ts'
export {
  type Config,
  fourServices,
  type Local,
  type LocalOptions,
  type ServiceSpec,
  startLocal,
  type World,
} from './local.ts'
export { writePrivateFile } from './private-files.ts'
