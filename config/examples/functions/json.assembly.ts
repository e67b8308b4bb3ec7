// Reads JSON that is known to be well formed, as what hexaFn hands to a function is, and writes texts as JSON.

/** The character after white space. */
function space(text: string, at: i32): i32 {
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++;
  return at;
}

/** The character after a value. */
function skip(text: string, at: i32): i32 {
  let depth = 0;
  do {
    at = space(text, at);
    const c = text.charCodeAt(at);
    if (c == 0x22 /* " */) {
      for (at++; text.charCodeAt(at) != 0x22; at++) {
        if (text.charCodeAt(at) == 0x5c /* \ */) at++;
      }
      at++;
    } else if (c == 0x7b /* { */ || c == 0x5b /* [ */) {
      depth++;
      at++;
    } else if (c == 0x7d /* } */ || c == 0x5d /* ] */) {
      depth--;
      at++;
    } else if (c == 0x2c /* , */ || c == 0x3a /* : */) {
      at++;
    } else {
      while (at < text.length && !",:]}\" \t\n\r".includes(text.charAt(at))) at++;
    }
  } while (depth > 0 && at < text.length);
  return at;
}

/** A value: where it begins in its text. What it is not is an error. */
export class Json {
  private constructor(
    private text: string,
    private at: i32,
  ) {}

  static of(text: string): Json {
    return new Json(text, space(text, 0));
  }

  private first(): i32 {
    return this.text.charCodeAt(this.at);
  }

  /** A member of an object. */
  get(name: string): Json {
    if (this.first() == 0x7b) {
      let at = space(this.text, this.at + 1);
      while (this.text.charCodeAt(at) == 0x22) {
        const key = new Json(this.text, at);
        const value = space(this.text, space(this.text, skip(this.text, at)) + 1);
        if (key.string() == name) return new Json(this.text, value);
        at = space(this.text, space(this.text, skip(this.text, value)) + 1);
      }
    }
    throw new Error("there is no member `" + name + "`");
  }

  /** The elements of an array. */
  items(): Json[] {
    if (this.first() != 0x5b) throw new Error("an array is expected, and here is " + this.shown());
    const items: Json[] = [];
    let at = space(this.text, this.at + 1);
    while (this.text.charCodeAt(at) != 0x5d) {
      items.push(new Json(this.text, at));
      at = space(this.text, skip(this.text, at));
      if (this.text.charCodeAt(at) == 0x2c) at = space(this.text, at + 1);
    }
    return items;
  }

  /** A whole number of at most 18 digits. */
  integer(): i64 {
    const written = this.text.substring(this.at, skip(this.text, this.at));
    const start = written.startsWith("-") ? 1 : 0;
    let number: i64 = 0;
    for (let i = start; i < written.length; i++) {
      const digit = written.charCodeAt(i) - 0x30;
      if (digit < 0 || digit > 9 || i - start == 18) throw new Error("a whole number is expected, and here is " + this.shown());
      number = number * 10 + digit;
    }
    return start == 1 ? -number : number;
  }

  /** A text. */
  string(): string {
    if (this.first() != 0x22) throw new Error("a text is expected, and here is " + this.shown());
    const end = skip(this.text, this.at) - 1;
    const units = new StaticArray<u16>(end - this.at);
    let length = 0;
    for (let at = this.at + 1; at < end; at++) {
      let unit = this.text.charCodeAt(at);
      if (unit == 0x5c) {
        unit = this.text.charCodeAt(++at);
        if (unit == 0x75 /* u */) {
          unit = <i32>parseInt(this.text.substring(at + 1, at + 5), 16);
          at += 4;
        } else {
          const known = "b\bf\fn\nr\rt\t".indexOf(String.fromCharCode(unit));
          if (known >= 0) unit = "b\bf\fn\nr\rt\t".charCodeAt(known + 1);
        }
      }
      units[length++] = <u16>unit;
    }
    return String.UTF16.decodeUnsafe(changetype<usize>(units), length << 1);
  }

  private shown(): string {
    return this.text.substring(this.at, min(skip(this.text, this.at), this.at + 40));
  }
}

/** A text as JSON. */
export function quote(text: string): string {
  // At most six characters for one, and the quotes.
  const units = new StaticArray<u16>(text.length * 6 + 2);
  let length = 0;
  units[length++] = 0x22;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    const short = "\"\"\\\\\bb\ff\nn\rr\tt".indexOf(String.fromCharCode(unit));
    if (unit >= 0x20 && unit != 0x22 && unit != 0x5c) {
      units[length++] = <u16>unit;
    } else if (short >= 0) {
      units[length++] = 0x5c;
      units[length++] = <u16>"\"\"\\\\\bb\ff\nn\rr\tt".charCodeAt(short + 1);
    } else {
      const digits = "\\u00" + unit.toString(16).padStart(2, "0");
      for (let d = 0; d < digits.length; d++) units[length++] = <u16>digits.charCodeAt(d);
    }
  }
  units[length++] = 0x22;
  return String.UTF16.decodeUnsafe(changetype<usize>(units), length << 1);
}
