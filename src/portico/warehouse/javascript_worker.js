// Makes of a function of SQL's one that takes rows and gives them back: values go in and come out by their SQL types.
(function (aggregates) {
  // Kept here, since a function may change what it finds.
  const S = String, N = Number, A = Array.isArray, D = Date, I = Number.isInteger, J = JSON.stringify;
  const U = Uint8Array, K = Object.keys, V = Object.values;
  const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

  function members(v, t, each) {
    const made = {};
    for (const f of t.structType.fields) made[f.name] = each(v[f.name], f.type);
    return made;
  }

  function given(v, t) {
    if (v === null || v === undefined) return null;
    switch (t.typeKind) {
      case 'INT64': return aggregates ? BigInt(v) : v;
      case 'BYTES': return aggregates ? unpacked(v) : v;
      case 'ARRAY': return v.map(x => given(x, t.arrayElementType));
      case 'STRUCT': return members(v, t, given);
      case 'FLOAT64': return N(v === 'inf' ? Infinity : v === '-inf' ? -Infinity : v);
      case 'DATE': case 'TIMESTAMP': return new D(v);
      default: return v;
    }
  }

  function unpacked(text) {
    const bytes = [];
    let bits = 0, held = 0;
    for (const one of text.replace(/=+$/, '')) {
      held = (held << 6 | DIGITS.indexOf(one)) & 0x3fff;
      if ((bits += 6) >= 8) bytes.push(held >> (bits -= 8) & 255);
    }
    return new U(bytes);
  }

  function packed(bytes) {
    let text = '';
    for (let at = 0; at < bytes.length; at += 3) {
      const three = bytes[at] << 16 | (bytes[at + 1] || 0) << 8 | (bytes[at + 2] || 0);
      for (let digit = 0; digit < 4; digit++)
        text += at + digit > bytes.length ? '=' : DIGITS[three >> 18 - 6 * digit & 63];
    }
    return text;
  }

  // A state as it goes from one part of an aggregation to another: what is no plain value stays behind.
  function plain(v) {
    if (A(v)) return v.map(plain);
    if (v === null || typeof v !== 'object') {
      if (typeof v === 'function' || typeof v === 'symbol') throw new TypeError('The state of an aggregation has what can not be serialized');
      return v;
    }
    const made = {};
    for (const name of K(v)) made[name] = plain(v[name]);
    return made;
  }

  function passed(state, module) {
    const told = module.serialize ? module.serialize(state) : state;
    if (told === null || typeof told !== 'object') throw new TypeError('The state of an aggregation must be an object');
    const kept = plain(told);
    return module.deserialize ? module.deserialize(kept) : kept;
  }

  // Rows are aggregated in one state, which is merged into another, as where several machines take a part each.
  function aggregated(module) {
    for (const name of ['initialState', 'aggregate', 'merge', 'finalize'])
      if (typeof module[name] !== 'function') throw new TypeError('A JavaScript UDAF must export the function ' + name);
    return (rows, ...fixed) => {
      const part = passed(module.initialState(...fixed), module);
      for (const row of rows || []) module.aggregate(part, ...V(row), ...fixed);
      const whole = passed(module.initialState(...fixed), module);
      module.merge(whole, passed(part, module), ...fixed);
      return module.finalize(passed(whole, module), ...fixed);
    };
  }

  function fail(v, t) {
    const shown = typeof v === 'object' ? J(v) : S(v);
    throw new TypeError('Failed to coerce output value ' + shown + ' to type ' + t.typeKind);
  }

  function integer(v, t) {
    if (typeof v === 'bigint') return S(v);
    if (typeof v === 'string' && /^\s*[+-]?\d+\s*$/.test(v)) return v.trim();
    if (typeof v === 'object' || !I(N(v))) fail(v, t);
    return BigInt(N(v)).toString();
  }

  function float(v, t) {
    const n = N(v);
    if (typeof v === 'object' || (n !== n && S(v).trim().toLowerCase() !== 'nan')) fail(v, t);
    return isFinite(n) ? n : S(n);
  }

  function bool(v, t) {
    if (typeof v === 'boolean') return v;
    if (v === 'true' || v === 1) return true;
    if (v === 'false' || v === 0) return false;
    return fail(v, t);
  }

  function taken(v, t) {
    if (v === null || v === undefined) return null;
    switch (t.typeKind) {
      case 'ARRAY': return A(v) ? v.map(x => taken(x, t.arrayElementType)) : fail(v, t);
      case 'STRUCT': return typeof v === 'object' ? members(v, t, taken) : fail(v, t);
      case 'INT64': return integer(v, t);
      case 'FLOAT64': return float(v, t);
      case 'BOOL': return bool(v, t);
      case 'DATE': return v instanceof D ? v.toISOString().slice(0, 10) : S(v);
      case 'TIMESTAMP': return v instanceof D ? v.toISOString() : S(v);
      case 'DATETIME': return v instanceof D ? v.toISOString().slice(0, -1) : S(v);
      case 'JSON': return v;
      case 'BYTES': return v instanceof U ? packed(v) : S(v);
      default: return S(v);
    }
  }

  return function (made, kinds, result) {
    const f = aggregates ? aggregated(made) : made;
    return rows => J(rows.map(row => taken(f.apply(null, row.map((v, i) => given(v, kinds[i]))), result)));
  };
})
