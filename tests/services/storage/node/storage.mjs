// What a Node program does with a bucket, by Google's client; prints what it saw as JSON.
import { Storage } from '@google-cloud/storage';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';

const seen = {};
const storage = new Storage({ projectId: 'p' });
const [bucket] = await storage.createBucket(process.argv[2]);
const read = async (name, options) => (await bucket.file(name).download(options))[0].toString();

await bucket.file('small.txt').save('hello', {
  resumable: false,
  metadata: { contentType: 'text/plain', metadata: { k: 'v' } },
});
await bucket.file('dir/große & Datei+1.txt').save('ganz', { resumable: false });
await bucket.file('resumable.txt').save('abc', { resumable: true });
await pipeline(
  Readable.from([Buffer.alloc(300000, 'x'), Buffer.alloc(300001, 'y')]),
  bucket.file('stream.bin').createWriteStream(),
);
const chunks = Buffer.alloc(256 * 1024 * 2 + 77, 'z');
await bucket.file('chunks.bin').save(chunks, { resumable: true, chunkSize: 256 * 1024 });
seen.small = await read('small.txt');
seen.resumable = await read('resumable.txt');
seen.streamed = (await bucket.file('stream.bin').getMetadata())[0].size;
seen.range = await read('stream.bin', { start: 299999, end: 300000 });
seen.chunks = (await read('chunks.bin')) === chunks.toString();
await bucket.file('small.txt').setMetadata({ metadata: { k: null, n: '1' } });
seen.metadata = (await bucket.file('small.txt').getMetadata())[0].metadata;
await bucket.file('small.txt').copy(bucket.file('copy.txt'));
await bucket.file('copy.txt').move('moved.txt');
await bucket.combine(['small.txt', 'resumable.txt'], 'both.txt');
seen.both = await read('both.txt');
seen.files = (await bucket.getFiles())[0].map((file) => file.name);
seen.below = (await bucket.getFiles({ prefix: 'dir/', delimiter: '/' }))[0].map((file) => file.name);
await bucket.setLabels({ team: 'ml' });
seen.labels = (await bucket.getMetadata())[0].labels;
seen.exist = [(await bucket.exists())[0], (await bucket.file('no').exists())[0]];
seen.listed = (await storage.getBuckets())[0].some((one) => one.name === bucket.name);
seen.account = (await storage.getServiceAccount())[0].emailAddress.includes('@');
await bucket.deleteFiles();
await bucket.delete();
seen.gone = !(await bucket.exists())[0];
console.log(JSON.stringify(seen));
