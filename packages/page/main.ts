// `npm run build:page` builds the storefront's page into packages/page/dist. A deploy runs it.
import { buildPage } from './build.ts'

await buildPage()
