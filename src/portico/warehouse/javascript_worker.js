// Makes of a function of SQL's one that takes rows and gives them back: values go in and come out by their SQL types.
(function () {
  // Kept here, since a function may change what it finds.
  const S = String, N = Number, A = Array.isArray, D = Date, I = Number.isInteger, J = JSON.stringify;

  function members(v, t, each) {
    const made = {};
    for (const f of t.structType.fields) made[f.name] = each(v[f.name], f.type);
    return made;
  }

  function given(v, t) {
    if (v === null || v === undefined) return null;
    switch (t.typeKind) {
      case 'ARRAY': return v.map(x => given(x, t.arrayElementType));
      case 'STRUCT': return members(v, t, given);
      case 'FLOAT64': return N(v === 'inf' ? Infinity : v === '-inf' ? -Infinity : v);
      case 'DATE': case 'TIMESTAMP': return new D(v);
      default: return v;
    }
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
      default: return S(v);
    }
  }

  return function (f, kinds, result) {
    return rows => J(rows.map(row => taken(f.apply(null, row.map((v, i) => given(v, kinds[i]))), result)));
  };
})()
