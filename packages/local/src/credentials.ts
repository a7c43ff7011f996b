/** The credentials of everything on this machine. The S3 engine checks them in presigned URLs, and nowhere else. */
export const CREDENTIALS = { accessKeyId: 'local', secretAccessKey: 'local' }
