export { encodeCar } from './car.ts'
export { decodeCbor, encodeCbor } from './cbor.ts'
export { linkText } from './link-text.ts'
export { type BlockMap, blockOf, decodeUcan, findBlock, type Ucan, viewUcan } from './ucan.ts'
