# One line of text in, at most one line out: the message's id, the name of a function of the agent and quoted
# arguments.
# A line that is no JSON object gives nothing. JSON is read into two maps by path: `kind` and, for strings and
# numbers, `text`. Text is bytes here (the agent sets LC_ALL=C).

BEGIN {
	escapes["\""] = "\""; escapes["\\"] = "\\"; escapes["/"] = "/"; escapes["b"] = "\b"
	escapes["f"] = "\f"; escapes["n"] = "\n"; escapes["r"] = "\r"; escapes["t"] = "\t"
	for (i = 1; i < 256; i++) code[sprintf("%c", i)] = i
	for (i = 0; i < 16; i++) digit[substr("0123456789abcdef", i + 1, 1)] = i
}

function fail(reason) {
	if (problem == "") problem = reason
	return ""
}

function skip_blanks() {
	if (match(rest, /^[ \t\r]+/)) rest = substr(rest, RLENGTH + 1)
}

function starts_with(word) {
	if (substr(rest, 1, length(word)) != word) return 0
	rest = substr(rest, length(word) + 1)
	return 1
}

# A value at the start of `rest`, which is then what follows it.
function parse(path, depth,    count, key) {
	if (depth > 8) return fail("the message is nested too deeply")
	skip_blanks()
	if (starts_with("\"")) {
		kind[path] = "string"
		text[path] = string()
	} else if (match(rest, /^-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?/)) {
		kind[path] = "number"
		text[path] = substr(rest, 1, RLENGTH)
		rest = substr(rest, RLENGTH + 1)
	} else if (starts_with("[")) {
		kind[path] = "array"
		count = 0
		skip_blanks()
		if (!starts_with("]")) do {
			parse(path SUBSEP count++, depth + 1)
			skip_blanks()
		} while (problem == "" && (starts_with(",") || (!starts_with("]") && fail("an array has no end"))))
		text[path] = count
	} else if (starts_with("{")) {
		kind[path] = "object"
		skip_blanks()
		if (!starts_with("}")) do {
			skip_blanks()
			if (!starts_with("\"")) return fail("an object has no key")
			key = string()
			skip_blanks()
			if (!starts_with(":")) return fail("an object has no value")
			parse(path SUBSEP key, depth + 1)
			skip_blanks()
		} while (problem == "" && (starts_with(",") || (!starts_with("}") && fail("an object has no end"))))
	} else if (starts_with("true") || starts_with("false") || starts_with("null")) {
		kind[path] = "constant"
	} else fail("there is no value")
}

# The string at the start of `rest`, its first quote taken away already.
function string(    out, quote, slash, letter, point, low) {
	out = ""
	while (1) {
		quote = index(rest, "\"")
		slash = index(rest, "\\")
		if (!quote) return fail("a string has no end")
		if (!slash || quote < slash) {
			out = out substr(rest, 1, quote - 1)
			rest = substr(rest, quote + 1)
			return out
		}
		out = out substr(rest, 1, slash - 1)
		letter = substr(rest, slash + 1, 1)
		rest = substr(rest, slash + 2)
		if (letter == "u") {
			point = hex4()
			if (point >= 55296 && point < 56320 && starts_with("\\u")) { # the first half of a pair
				low = hex4()
				point = (point - 55296) * 1024 + low - 56320 + 65536
			}
			if (point == 0) return fail("a string contains a NUL character")
			out = out utf8(point)
		} else if (letter in escapes) out = out escapes[letter]
		else return fail("a string has an unknown escape")
	}
}

function hex4(    i, value) {
	value = 0
	for (i = 1; i <= 4; i++) value = value * 16 + digit[tolower(substr(rest, i, 1))]
	rest = substr(rest, 5)
	return value
}

function utf8(point) {
	if (point < 128) return sprintf("%c", point)
	if (point < 2048) return sprintf("%c%c", 192 + int(point / 64), 128 + point % 64)
	if (point < 65536)
		return sprintf("%c%c%c", 224 + int(point / 4096), 128 + int(point / 64) % 64, 128 + point % 64)
	return sprintf("%c%c%c%c", 240 + int(point / 262144), 128 + int(point / 4096) % 64, \
		128 + int(point / 64) % 64, 128 + point % 64)
}

function quoted(value) {
	gsub(/'/, "'\\''", value)
	gsub(/\n/, "'$'\\n''", value)
	return "'" value "'"
}

# A field that must be there and of that kind.
function field(path, wanted) {
	if (kind[path] != wanted) {
		sub("^" SUBSEP, "", path)
		gsub(SUBSEP, ".", path)
		return fail(path " is missing or no " wanted)
	}
	return text[path]
}

# All strings of an array, each with `before` in front, as the lines of one text.
function lines(path, before,    i, out, count) {
	count = field(path, "array")
	out = ""
	for (i = 0; i < count; i++) out = out (i ? "\n" : "") before field(path SUBSEP i, "string")
	return out
}

# The path's folder on the volume: unique, and no part is longer than a file name may be.
function folder(path,    i, letter, out, part) {
	out = part = ""
	for (i = 1; i <= length(path); i++) {
		letter = substr(path, i, 1)
		part = part (letter ~ /[A-Za-z0-9._~-]/ ? letter : sprintf("%%%02X", code[letter]))
		if (length(part) > 200) {
			out = out part "/"
			part = ""
		}
	}
	return out part "="
}

function arguments(    out, i, count, path) {
	out = quoted(int(field(SUBSEP "clock", "number"))) " " quoted(field(SUBSEP "entropy", "string")) \
		" " quoted(field(SUBSEP "hostname", "string")) " " quoted(field(SUBSEP "machine_id", "string"))
	path = field(SUBSEP "host_key", "string")
	sub(/\n+$/, "", path)
	out = out " " quoted(path) " " quoted(lines(SUBSEP "authorized_keys", "")) \
		" " quoted(field(SUBSEP "network" SUBSEP "address", "string")) \
		" " quoted(field(SUBSEP "network" SUBSEP "gateway", "string")) \
		" " quoted(lines(SUBSEP "network" SUBSEP "dns", "nameserver ")) " " quoted(field(SUBSEP "volume", "string"))
	count = field(SUBSEP "mount_paths", "array")
	for (i = 0; i < count; i++) {
		path = field(SUBSEP "mount_paths" SUBSEP i, "string")
		if (path !~ /^\/+[^\/]/ || path ~ /(^|\/)\.\.?(\/|$)/) fail("a mount path is not absolute and plain")
		out = out " " quoted(path) " " quoted(folder(path))
	}
	return out
}

{
	split("", kind)
	split("", text)
	problem = ""
	rest = $0
	parse("", 0)
	skip_blanks()
	if (problem != "" || rest != "" || kind[""] != "object") next
	id = kind[SUBSEP "id"] == "number" ? text[SUBSEP "id"] : "null"
	type = text[SUBSEP "type"]
	if (type == "hello") print id " hello " id
	else if (type == "poweroff") print id " power_off"
	else if (type == "configure") {
		line = "configure " id " " arguments()
		print id " " (problem == "" ? line : "failed " quoted(problem))
	}
	fflush()
}
