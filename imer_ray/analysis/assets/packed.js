"use strict";
// What the page is given: JSON or, where there is much of it, JSON that is packed by DEFLATE (RFC 1951) and base64.
// Browsers unpack as well, but tell it later, and the scripts that follow need it now.

function given(place) {
  if (place.type === "application/json") return JSON.parse(place.textContent);
  const [size, text] = place.textContent.split(":"), packed = atob(text);
  return JSON.parse(new TextDecoder().decode(inflated(Uint8Array.from(packed, (c) => c.charCodeAt(0)), Number(size))));
}

function inflated(bytes, size) {
  const made = new Uint8Array(size), order = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
  let place = 0, end = 0, bits = 0, count = 0;

  function read(wanted) {
    for (; count < wanted; count += 8) bits |= bytes[place++] << count;
    const value = bits & ((1 << wanted) - 1);
    bits >>>= wanted;
    count -= wanted;
    return value;
  }

  // A canonical Huffman code: how many symbols have each length, and the symbols in order.
  function code(lengths) {
    const counts = new Uint16Array(16), next = new Uint16Array(16), symbols = new Uint16Array(lengths.length);
    for (const length of lengths) if (length) counts[length] += 1;
    for (let i = 1; i < 16; i += 1) next[i] = next[i - 1] + counts[i - 1];
    lengths.forEach((length, symbol) => { if (length) symbols[next[length]++] = symbol; });
    return { counts, symbols };
  }

  function symbol({ counts, symbols }) {
    let value = 0, first = 0, index = 0;
    for (let length = 1; length < 16; length += 1) {
      value |= read(1);
      if (value - counts[length] < first) return symbols[index + value - first];
      index += counts[length];
      first = (first + counts[length]) << 1;
      value <<= 1;
    }
    throw new Error("the page's data are damaged");
  }

  function ownCodes() {
    const [literals, distances, used] = [read(5) + 257, read(5) + 1, read(4) + 4], short = new Array(19).fill(0);
    for (let i = 0; i < used; i += 1) short[order[i]] = read(3);
    const lengths = [], ofLengths = code(short);
    while (lengths.length < literals + distances) {
      const found = symbol(ofLengths);
      if (found < 16) lengths.push(found);
      else {
        const value = found === 16 ? lengths.at(-1) : 0;
        const times = found === 16 ? 3 + read(2) : found === 17 ? 3 + read(3) : 11 + read(7);
        for (let i = 0; i < times; i += 1) lengths.push(value);
      }
    }
    return [code(lengths.slice(0, literals)), code(lengths.slice(literals))];
  }

  const fixed = [code(Array.from({ length: 288 }, (_, i) => (i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8))), code(new Array(30).fill(5))];
  for (let last = 0; !last;) {
    last = read(1);
    const kind = read(2);
    if (kind === 0) {
      bits = count = 0;
      const length = bytes[place] | (bytes[place + 1] << 8);
      made.set(bytes.subarray(place + 4, place + 4 + length), end);
      place += 4 + length;
      end += length;
      continue;
    }
    const [literals, distances] = kind === 1 ? fixed : ownCodes();
    for (let found = symbol(literals); found !== 256; found = symbol(literals)) {
      if (found < 256) {
        made[end++] = found;
        continue;
      }
      let length = 258;
      if (found < 265) length = found - 254;
      else if (found < 285) {
        const extra = (found - 261) >> 2;
        length = ((4 + ((found - 261) & 3)) << extra) + 3 + read(extra);
      }
      const step = symbol(distances), extra = step < 4 ? 0 : (step >> 1) - 1;
      const distance = step < 4 ? step + 1 : ((2 + (step & 1)) << extra) + 1 + read(extra);
      for (let i = 0; i < length; i += 1, end += 1) made[end] = made[end - distance];
    }
  }
  return made;
}
