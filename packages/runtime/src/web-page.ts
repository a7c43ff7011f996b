import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Hono, MiddlewareHandler } from 'hono'
import { accepts } from 'hono/accepts'
import { secureHeaders } from 'hono/secure-headers'
import { getMimeType } from 'hono/utils/mime'

/** The files of a web page: `index.html`, and files whose names contain a hash of their contents. */
export interface WebPage {
  /** Returns the contents of a file; `undefined` if there is none of this name. */
  read(name: string): Promise<Uint8Array | undefined>
}

/** Returns the page in a directory. Its files are read when a browser asks for them. */
export const openWebPage = (directory: string): WebPage => ({
  read: async name => {
    if (!/^[\w-]+\.\w+$/.test(name)) return undefined
    return readFile(join(directory, name)).catch(() => undefined)
  },
})

const HTML = 'text/html'
const INDEX = 'index.html'

/**
 * The page loads only its own files. It reads receipts and uploads content at addresses of other services and of S3, which it
 * learns from the storefront.
 */
const POLICY = {
  defaultSrc: ["'none'"],
  // The piece hash is WebAssembly.
  scriptSrc: ["'self'", "'wasm-unsafe-eval'"],
  styleSrc: ["'self'"],
  imgSrc: ["'self'"],
  connectSrc: ["'self'", 'https:', 'http://127.0.0.1:*', 'http://localhost:*'],
  baseUri: ["'none'"],
  formAction: ["'self'"],
  frameAncestors: ["'none'"],
}

/** Adds the routes of a web page, before those that answer programs at the same addresses. */
export const addWebPage = (app: Hono, page: WebPage): void => {
  const headers = secureHeaders({
    contentSecurityPolicy: POLICY,
    referrerPolicy: 'no-referrer',
    // The operator of the domain decides on it.
    strictTransportSecurity: false,
  })
  const index: MiddlewareHandler = async (context, next) => {
    // Caches must not serve one form to those who ask for another one.
    context.header('vary', 'Accept')
    const wanted = accepts(context, {
      header: 'Accept',
      supports: [HTML, 'application/json', '*/*'],
      default: '*/*',
    })
    const bytes = wanted === HTML ? await page.read(INDEX) : undefined
    if (bytes === undefined) return next()
    await headers(context, async () => {
      context.res = context.body(bytes as Uint8Array<ArrayBuffer>, 200, {
        'content-type': `${HTML}; charset=utf-8`,
        'cache-control': 'no-cache',
      })
    })
    return context.res
  }
  app.get('/', index)
  app.get('/receipt/:task', index)
  app.get('/page/:name', async context => {
    const name = context.req.param('name')
    // Here the index would have no policy, so that other sites could frame it, and caches would keep it for a year.
    const bytes = name === INDEX ? undefined : await page.read(name)
    if (bytes === undefined) return context.text('Not found', 404)
    return context.body(bytes as Uint8Array<ArrayBuffer>, 200, {
      'content-type': getMimeType(name) ?? 'application/octet-stream',
      'cache-control': 'public, max-age=31536000, immutable',
      'x-content-type-options': 'nosniff',
    })
  })
}
