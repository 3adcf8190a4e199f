#include "wire/json.h"

#include "check.h"

#include <math.h>
#include <stdlib.h>

/* A case is the text itself and its length, since some hold NUL bytes. */
#define T(literal)                                                                                           \
  { "" literal, sizeof(literal) - 1 }

static const struct span good_texts[] = {
    T("[[]   ]"),
    T("[\"\"]"),
    T("[]"),
    T("[\"a\"]"),
    T("[false]"),
    T("[null, 1, \"1\", {}]"),
    T("[null]"),
    T("[1\n]"),
    T(" [1]"),
    T("[1,null,null,null,2]"),
    T("[2] "),
    T("[123e65]"),
    T("[0e+1]"),
    T("[0e1]"),
    T("[ 4]"),
    T("[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]\n"),
    T("[20e1]"),
    T("[-0]"),
    T("[-123]"),
    T("[-1]"),
    T("[1E22]"),
    T("[1E-2]"),
    T("[1E+2]"),
    T("[123e45]"),
    T("[123.456e78]"),
    T("[1e-2]"),
    T("[1e+2]"),
    T("[123]"),
    T("[123.456789]"),
    T("[0.4e00669999999999999]"),
    T("[-1e+9999]"),
    T("[123123e100000]"),
    T("[100000000000000000000]"),
    T("[-237462374673276894279832749832]"),
    T("{\"asd\":\"sdf\", \"dfg\":\"fgh\"}"),
    T("{\"asd\":\"sdf\"}"),
    T("{\"a\":\"b\",\"a\":\"c\"}"),
    T("{\"a\":\"b\",\"a\":\"b\"}"),
    T("{}"),
    T("{\"\":0}"),
    T("{\"foo\\u0000bar\": 42}"),
    T("{ \"min\": -1.0e+28, \"max\": 1.0e+28 }"),
    T("{\"a\":[]}"),
    T("{\n\"a\": \"b\"\n}"),
    T("{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\"}"),
    T("{\"x\":[{\"id\": \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}], \"id\": \"xxxxxxxxxxxxxxxxxxxx\"}"),
    T("[\"\\u0060\\u012a\\u12AB\"]"),
    T("[\"\\uD801\\udc37\"]"),
    T("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"),
    T("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
    T("[\"\\\\u0000\"]"),
    T("[\"\\\"\"]"),
    T("[\"a/*b*/c/*d//e\"]"),
    T("[\"\\\\a\"]"),
    T("[\"\\\\n\"]"),
    T("[\"\\u0012\"]"),
    T("[\"\\uFFFF\"]"),
    T("[\"asd\"]"),
    T("[ \"asd\"]"),
    T("[\"\\uDBFF\\uDFFF\"]"),
    T("[\"new\\u00A0line\"]"),
    T("[\"\xF4\x8F\xBF\xBF\"]"),
    T("[\"\xEF\xBF\xBF\"]"),
    T("[\"\xF0\x9B\xBF\xBF\"]"),
    T("[\"\xF3\xA0\x80\x80\"]"),
    T("[\"\\u0000\"]"),
    T("[\"\\u002c\"]"),
    T("[\"\xCF\x80\"]"),
    T("\" \""),
    T("[\"\\uD834\\uDd1e\"]"),
    T("[\"\\u0821\"]"),
    T("[\"\\u0123\"]"),
    T("[\"\xE2\x80\xA8\"]"),
    T("[\"\xE2\x80\xA9\"]"),
    T("[\"\\u0061\\u30af\\u30EA\\u30b9\"]"),
    T("[\"new\\u000Aline\"]"),
    T("[\"\x7F\"]"),
    T("[\"\\uA66D\"]"),
    T("[\"\\u005C\"]"),
    T("[\"\xE2\x8D\x82\xE3\x88\xB4\xE2\x8D\x82\"]"),
    T("[\"\\u200B\"]"),
    T("[\"\\u2064\"]"),
    T("[\"\\uFDD0\"]"),
    T("[\"\\uFFFE\"]"),
    T("[\"\\u0022\"]"),
    T("[\"\xE2\x82\xAC\xF0\x9D\x84\x9E\"]"),
    T("[\"a\x7F"
      "a\"]"),
    T("false"),
    T("42"),
    T("-0.1"),
    T("null"),
    T("\"asd\""),
    T("true"),
    T("\"\""),
    T("[\"a\"]\n"),
    T("[true]"),
    T(" [] "),
    T("[\"\\uDADA\"]"),
    T("[\"\\uD888\\u1234\"]"),
    T("[\"\\uD800\\n\"]"),
    T("[\"\\uDd1ea\"]"),
    T("[\"\\uD800\\uD800\\n\"]"),
    T("[\"\\ud800\"]"),
    T("[\"\\ud800abc\"]"),
    T("[\"\\uDd1e\\uD834\"]"),
    T("[\"\\uDFAA\"]"),
    T("\t\r\n {\t\"a\"\r:\n1 }\t"),
    T("0"),
    T("-0"),
    T("0e0"),
    T("[0,-1.5E-07]"),
};

static const struct span bad_texts[] = {
    /* structure */
    T(""),
    T(" "),
    T("["),
    T("]"),
    T("{"),
    T("}"),
    T("[1,"),
    T("[1"),
    T("[1 true]"),
    T("[\"\": 1]"),
    T("[\"\"],"),
    T("[,1]"),
    T("[1,,2]"),
    T("[\"x\",,]"),
    T("[\"x\"]]"),
    T("[\"\",]"),
    T("[\"x\""),
    T("[x"),
    T("[3[4]]"),
    T("[1:2]"),
    T("[,]"),
    T("[-]"),
    T("[   , \"\"]"),
    T("[\"a\",\n4\n,1,"),
    T("[1,]"),
    T("[*]"),
    T("[\"\"\n"),
    T("[1,\n1\n,1"),
    T("[{}"),
    T("[\"a\"\n,"),
    T("<null>"),
    T("<.>"),
    T("[<null>]"),
    T("[1]x"),
    T("[1]]"),
    T("[][]"),
    T("[\"asd]"),
    T("[True]"),
    T("{\"x\": true,"),
    T("2@"),
    T("{}}"),
    T("{\"\":"),
    T("{\"a\":/*comment*/\"b\"}"),
    T("{\"a\": true} \"x\""),
    T("['"),
    T("[,"),
    T("[{"),
    T("[\"a"),
    T("[\"a\""),
    T("{,"),
    T("{["),
    T("{\"a"),
    T("{'a'"),
    T("[\"\\{[\"\\{[\"\\{[\"\\{"),
    T("*"),
    T("[1}"),
    T("{\"a\":1]"),
    T("{\"a\":\"b\"}#{}"),
    T("[\\u000A\"\"]"),
    T("[ false, nul"),
    T("[ true, fals"),
    T("[ false, tru"),
    T("{\"asd\":\"asd\""),
    T("\xC3\xA5"),
    T("[\xE2\x81\xA0]"),
    T("\xEF\xBB\xBF"),
    T("\xEF\xBB\xBF{}"),
    T("[\f]"),
    T("[\v1]"),
    T("[1\xC2\xA0]"),
    T("[a\xC3\xA5]"),
    T("[\xFF]"),
    T("[1\0]"),
    T("{}\0"),
    T("\0"),
    T("[\0"),
    T("nul"),
    T("nulll"),
    T("truefalse"),
    T("[nul]"),
    T("[fals]"),
    T("[tru]"),
    T("[TRUE]"),
    T("[NULL]"),
    T("[undefined]"),
    /* numbers */
    T("[++1234]"),
    T("[+1]"),
    T("[+Inf]"),
    T("[-01]"),
    T("[-1.0.]"),
    T("[-2.]"),
    T("[-NaN]"),
    T("[.-1]"),
    T("[.2e-3]"),
    T("[0.1.2]"),
    T("[0.3e+]"),
    T("[0.3e]"),
    T("[0.e1]"),
    T("[0E+]"),
    T("[0E]"),
    T("[0e+]"),
    T("[0e]"),
    T("[1.0e+]"),
    T("[1.0e-]"),
    T("[1.0e]"),
    T("[1 000.0]"),
    T("[1eE2]"),
    T("[2.e+3]"),
    T("[2.e-3]"),
    T("[2.e3]"),
    T("[9.e+]"),
    T("[Inf]"),
    T("[NaN]"),
    T("[\xEF\xBC\x91]"),
    T("[1+2]"),
    T("[0x1]"),
    T("[0x42]"),
    T("[Infinity]"),
    T("[0e+-1]"),
    T("[-123.123foo]"),
    T("[123\xE5]"),
    T("[1e1\xE5]"),
    T("[0\xE5]"),
    T("[-Infinity]"),
    T("[-foo]"),
    T("[- 1]"),
    T("[-012]"),
    T("[-.123]"),
    T("[-1x]"),
    T("[1ea]"),
    T("[1e\xE5]"),
    T("[1.]"),
    T("[.123]"),
    T("[1.2a-3]"),
    T("[1.8011670033376514H-308]"),
    T("[012]"),
    T("-"),
    T("0."),
    T("1e"),
    T("01"),
    T("1.e1"),
    T("[1e--1]"),
    /* objects */
    T("[\"x\", truth]"),
    T("{[: \"x\"}\n"),
    T("{\"x\", null}"),
    T("{\"x\"::\"b\"}"),
    T("{\"\":1 \"b\":2}"),
    T("{\"a\":\"a\" 123}"),
    T("{key: 'value'}"),
    T("{\"\xB9\":\"0\",}"),
    T("{\"a\" b}"),
    T("{:\"b\"}"),
    T("{\"a\" \"b\"}"),
    T("{\"a\":"),
    T("{\"a\""),
    T("{1:1}"),
    T("{9999E9999:1}"),
    T("{null:null,null:null}"),
    T("{\"id\":0,,,,,}"),
    T("{'a':0}"),
    T("{\"id\":0,}"),
    T("{\"a\":\"b\"}/**/"),
    T("{\"a\":\"b\"}/**//"),
    T("{\"a\":\"b\"}//"),
    T("{\"a\":\"b\"}/"),
    T("{\"a\":\"b\",,\"c\":\"d\"}"),
    T("{a: \"b\"}"),
    T("{\"a\":\"a"),
    T("{ \"foo\" : \"bar\", \"a\" }"),
    T("{\"a\":\"b\"}#"),
    T("{\"a\":1,}"),
    T("{,\"a\":1}"),
    T("{\"a\":1}}"),
    T("{\"a\":}"),
    T("{true:1}"),
    T("{[]:1}"),
    /* strings */
    T("[\"\\uD800\\\"]"),
    T("[\"\\uD800\\u\"]"),
    T("[\"\\uD800\\u1\"]"),
    T("[\"\\uD800\\u1x\"]"),
    T("[\xC3\xA9]"),
    T("[\"\\\0\"]"),
    T("[\"\\x00\"]"),
    T("[\"\\\\\\\"]"),
    T("[\"\\\t\"]"),
    T("[\"\\\xF0\x9F\x8C\x80\"]"),
    T("[\"\\\"]"),
    T("[\"\\u00A\"]"),
    T("[\"\\uD834\\uDd\"]"),
    T("[\"\\uD800\\uD800\\x\"]"),
    T("[\"\\u\xE5\"]"),
    T("[\"\\a\"]"),
    T("[\"\\uqqqq\"]"),
    T("[\"\\\xE5\"]"),
    T("[\\u0020\"asd\"]"),
    T("[\\n]"),
    T("\""),
    T("['single quote']"),
    T("abc"),
    T("[\"\\"),
    T("[\"a\0a\"]"),
    T("[\"new\nline\"]"),
    T("[\"\t\"]"),
    T("\"\\UA66D\""),
    T("\"\"x"),
    T("[\"\x1F\"]"),
    T("[\"0123456789abcdef\x01\"]"),
    T("[\"\\u000g\"]"),
    T("[\"\\u 123\"]"),
    T("[\"\\u"),
    T("[\"\\u12"),
    T("[\"\\'\"]"),
    T("[\"\\u12345"),
    T("\"a"),
    T("\"\\"),
    /* not UTF-8 */
    T("[\"\xE5\"]"),
    T("[\"\xFF\"]"),
    T("[\"\xC0\xAF\"]"),
    T("[\"\xE0\x80\xAF\"]"),
    T("[\"\xF0\x80\x80\xAF\"]"),
    T("[\"\xFC\x83\xBF\xBF\xBF\xBF\"]"),
    T("[\"\xFC\x80\x80\x80\x80\x80\"]"),
    T("[\"\xED\xA0\x80\"]"),
    T("[\"\xED\xBF\xBF\"]"),
    T("[\"\xF4\x90\x80\x80\"]"),
    T("[\"\xF5\x80\x80\x80\"]"),
    T("[\"\x81\"]"),
    T("[\"\xE6\x97\xA5\xD1\x88\xFA\"]"),
    T("[\"\xC2\"]"),
    T("[\"\xE2\x82\"]"),
    T("[\"\xF0\x9F\x98\"]"),
    T("[\"\xC1\xBF\"]"),
    T("[\"\xE9\"]"),
    T("[\"\xC2"),
    T("[\"\xF8\x88\x80\x80\x80\"]"),
    T("[\"\xE2\x28\xA1\"]"),
    T("[\"\xF0\x28\x8C\xBC\"]"),
    T("[\"\xF0\x9F\x28\x80\"]"),
    T("[\"0123456789abcdef\xE2\x82\"]"),
    T("\xFE\xFF\0[\0]"),
    T("\xFF\xFE[\0]\0"),
    T("\0[\0\"\0\xE9\0\"\0]"),
    T("{\"\xFF\":1}"),
};

static bool is_json(struct span text) {
  /* In memory of its own, so that a sanitizer sees every byte read beyond it. */
  char *copy = malloc(text.len + !text.len);
  if (text.len) memcpy(copy, text.ptr, text.len);
  struct json_fault fault = {.offset = SIZE_MAX};
  int err = json_validate(&fault, span_make(copy, text.len));
  free(copy);
  if (err && (fault.offset > text.len || !fault.message)) printf("# bad fault\n");
  return err == 0;
}

static void good_texts_are_accepted(void) {
  for (size_t i = 0; i < ARRAY_LEN(good_texts); i++) {
    if (!is_json(good_texts[i])) printf("# refused: %.*s\n", SPAN_FMT(good_texts[i]));
    CHECK(is_json(good_texts[i]));
  }
}

static void bad_texts_are_refused(void) {
  for (size_t i = 0; i < ARRAY_LEN(bad_texts); i++) {
    if (is_json(bad_texts[i])) printf("# accepted: %.*s\n", SPAN_FMT(bad_texts[i]));
    CHECK(!is_json(bad_texts[i]));
  }
}

/* What is found must not depend on where a text lies, nor on what is in front of a string's end. */
static void bad_bytes_are_found_at_any_place(void) {
  char text[160];
  static const struct span bad[] = {T("\x01"),         T("\n"),  T("\xFF"), T("\xC3"),
                                    T("\xED\xA0\x80"), T("\\x"), T("\"")};
  for (size_t lead = 0; lead < 70; lead++) {
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
      size_t n = 0;
      text[n++] = '"';
      memset(text + n, 'a', lead);
      n += lead;
      memcpy(text + n, bad[i].ptr, bad[i].len);
      size_t at = n;
      n += bad[i].len;
      memset(text + n, 'b', 40);
      n += 40;
      text[n++] = '"';
      struct json_fault fault;
      CHECK_INT(json_validate(&fault, span_make(text, n)), ERR_SYNTAX);
      CHECK_INT(fault.offset, bad[i].ptr[0] == '"' ? at + 1 : at);
    }
  }
}

static void all_two_byte_sequences_are_judged(void) {
  for (unsigned a = 0x80; a < 0x100; a++) {
    for (unsigned b = 0x80; b < 0x100; b++) {
      char text[] = {'"', (char)a, (char)b, '"'};
      CHECK(is_json(span_make(text, 4)) == (a >= 0xC2 && a <= 0xDF && b <= 0xBF));
    }
  }
}

/* All code points, encoded by the rule, pass; surrogates do not. */
static void all_code_points_are_judged(void) {
  for (uint32_t c = 0x80; c < 0x110000; c++) {
    unsigned char t[6] = {'"'};
    size_t n = 1;
    if (c < 0x800) {
      t[n++] = (unsigned char)(0xC0 | c >> 6);
    } else if (c < 0x10000) {
      t[n++] = (unsigned char)(0xE0 | c >> 12);
      t[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
    } else {
      t[n++] = (unsigned char)(0xF0 | c >> 18);
      t[n++] = (unsigned char)(0x80 | (c >> 12 & 63));
      t[n++] = (unsigned char)(0x80 | (c >> 6 & 63));
    }
    t[n++] = (unsigned char)(0x80 | (c & 63));
    t[n++] = '"';
    struct json_fault fault;
    bool ok = json_validate(&fault, span_make((const char *)t, n)) == 0;
    CHECK(ok == (c < 0xD800 || c > 0xDFFF));
  }
}

static int nested(const char *open, const char *close, size_t depth) {
  size_t open_len = strlen(open), close_len = strlen(close), n = 0;
  char *text = malloc(depth * (open_len + close_len) + 1);
  for (size_t i = 0; i < depth; i++, n += open_len)
    memcpy(text + n, open, open_len);
  text[n++] = '1';
  for (size_t i = 0; i < depth; i++, n += close_len)
    memcpy(text + n, close, close_len);
  struct json_fault fault;
  int err = json_validate(&fault, span_make(text, n));
  free(text);
  return err;
}

static void depth_128_is_accepted_129_is_too_large(void) {
  CHECK_INT(nested("[", "]", 128), 0);
  CHECK_INT(nested("{\"a\":", "}", 128), 0);
  CHECK_INT(nested("[{\"a\":", "}]", 64), 0);
  CHECK_INT(nested("[", "]", 129), ERR_TOO_LARGE);
  CHECK_INT(nested("{\"a\":", "}", 129), ERR_TOO_LARGE);
  CHECK_INT(nested("[", "]", 100000), ERR_TOO_LARGE);
  CHECK_INT(nested("[{\"\":", "}]", 50000), ERR_TOO_LARGE);
  CHECK_INT(nested("[", "", 128), ERR_SYNTAX);
  /* The kind of bracket counts at every depth. */
  CHECK_INT(nested("[", "}", 100), ERR_SYNTAX);
  CHECK_INT(nested("{\"a\":", "]", 70), ERR_SYNTAX);
}

static void object_depth_counts_from_the_top(void) {
  for (size_t depth = 126; depth < 130; depth++) {
    char text[512];
    size_t n = (size_t)snprintf(text, sizeof text, "{\"a\":");
    memset(text + n, '[', depth);
    memset(text + n + depth, ']', depth);
    n += 2 * depth;
    text[n++] = '}';
    struct json_member m = {.name = SPAN("a")};
    struct json_object object;
    struct json_fault fault;
    CHECK_INT(json_scan_object(&m, 1, &object, &fault, span_make(text, n)), depth < 128 ? 0 : ERR_TOO_LARGE);
  }
}

static struct json_member m[5];
static struct json_object object;
static struct json_fault fault;

static int scan(struct span text) {
  static const char *const names[] = {"model", "messages", "stream", "stream_options", "a\nb\xC3\xA9"};
  for (size_t i = 0; i < ARRAY_LEN(m); i++)
    m[i].name = span_str(names[i]);
  return json_scan_object(m, ARRAY_LEN(m), &object, &fault, text);
}

static void members_are_found_with_type_and_raw_value(void) {
  struct span text =
      SPAN(" { \"model\" : \"gpt\\n4\" , \"messages\":[ {\"model\":1,\"stream\":[2]} ],\"stream\":true ,"
           "\"x\":{\"stream_options\":3}} ");
  CHECK_INT(scan(text), 0);
  CHECK_INT(m[0].type, JSON_STRING);
  CHECK_STR(m[0].value.ptr, m[0].value.len, "\"gpt\\n4\"");
  CHECK_INT(m[1].type, JSON_ARRAY);
  CHECK_STR(m[1].value.ptr, m[1].value.len, "[ {\"model\":1,\"stream\":[2]} ]");
  CHECK(!m[1].is_empty);
  CHECK_INT(m[2].type, JSON_TRUE);
  CHECK_STR(m[2].value.ptr, m[2].value.len, "true");
  CHECK_INT(m[3].type, JSON_ABSENT);
  CHECK_INT(m[3].count, 0);
  CHECK_INT(m[0].count, 1);
  CHECK_INT(object.open, 1);
  CHECK(text.ptr[object.close] == '}' && object.close == text.len - 2);
  CHECK(!object.is_empty);
}

static void every_type_is_told(void) {
  static const struct {
    const char *value;
    enum json_type type;
    bool is_empty;
  } cases[] = {
      {"null", JSON_NULL, false},     {"false", JSON_FALSE, false}, {"true", JSON_TRUE, false},
      {"-0.5e1", JSON_NUMBER, false}, {"0", JSON_NUMBER, false},    {"\"\"", JSON_STRING, false},
      {"[]", JSON_ARRAY, true},       {"[ \n]", JSON_ARRAY, true},  {"[[]]", JSON_ARRAY, false},
      {"{}", JSON_OBJECT, true},      {"{\t}", JSON_OBJECT, true},  {"{\"a\":{}}", JSON_OBJECT, false},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char text[64];
    int n = snprintf(text, sizeof text, "{\"model\":%s}", cases[i].value);
    CHECK_INT(scan(span_make(text, (size_t)n)), 0);
    CHECK_INT(m[0].type, cases[i].type);
    CHECK_INT(m[0].is_empty, cases[i].is_empty);
    CHECK_STR(m[0].value.ptr, m[0].value.len, cases[i].value);
  }
}

static void repeats_are_counted_after_unescaping(void) {
  CHECK_INT(
      scan(SPAN(
          "{\"model\":1,\"\\u006dodel\":[2],\"mo\\u0064el\":\"3\",\"Model\":4,\"model \":5,\"mode\":6}")),
      0);
  CHECK_INT(m[0].count, 3);
  CHECK_INT(m[0].type, JSON_STRING);
  CHECK_STR(m[0].value.ptr, m[0].value.len, "\"3\"");
  CHECK_INT(scan(SPAN("{\"a\\nb\\u00e9\":1,\"a\\u000ab\xC3\xA9\":2,\"a\\nb\\u00E9x\":3,\"a\\nb\\ud800\":4}")),
            0);
  CHECK_INT(m[4].count, 2);
  CHECK_INT(scan(SPAN("{\"model\\u0000\":1,\"\\u006d\":2,\"\\u006dodem\":3}")), 0);
  CHECK_INT(m[0].count, 0);
}

static void empty_object_is_told(void) {
  CHECK_INT(scan(SPAN(" {\n}")), 0);
  CHECK(object.is_empty);
  CHECK_INT(object.open, 1);
  CHECK_INT(object.close, 3);
}

static void other_values_at_the_top_are_unsupported(void) {
  CHECK_INT(scan(SPAN("  [{\"model\":1}]")), ERR_UNSUPPORTED);
  CHECK_INT(fault.offset, 2);
  CHECK_INT(m[0].count, 0);
  CHECK_INT(scan(SPAN("\"x\"")), ERR_UNSUPPORTED);
  CHECK_INT(scan(SPAN("null")), ERR_UNSUPPORTED);
  CHECK_INT(scan(SPAN("[1,]")), ERR_SYNTAX);
  CHECK_INT(scan(SPAN("")), ERR_SYNTAX);
  CHECK_INT(scan(SPAN_NONE), ERR_SYNTAX);
}

static void faults_name_place_and_cause(void) {
  static const struct {
    const char *text;
    size_t offset;
    const char *message;
  } cases[] = {
      {"", 0, "unexpected end of the text"},
      {"{\"a\":1", 6, "unexpected end of the text"},
      {"{\"a\":\"b", 7, "unexpected end of the text"},
      {"{\"a\":\"b\\", 8, "unexpected end of the text"},
      {"{\"a\":\"\\u12", 10, "unexpected end of the text"},
      {"{\"a\":\"\\u12\"}", 6, "invalid escape"},
      {"{\"a\":1 1}", 7, "expected ',' or '}'"},
      {"{\"a\":[1 1]}", 8, "expected ',' or ']'"},
      {"{\"a\":1,}", 7, "expected a member name"},
      {"{\"a\":[1,]}", 8, "expected a value"},
      {"{\"a\" 1}", 5, "expected ':'"},
      {"{\"a\":01}", 6, "expected ',' or '}'"},
      {"{\"a\":-x}", 6, "invalid number"},
      {"{\"a\":tru}", 5, "expected a value"},
      {"{\"a\":\"\t\"}", 6, "control character in a string"},
      {"{\"a\":\"\xFF\"}", 6, "invalid UTF-8"},
      {"{\"a\":1}x", 7, "expected the end of the text"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    CHECK_INT(scan(span_str(cases[i].text)), ERR_SYNTAX);
    CHECK_STR(fault.message, strlen(fault.message), cases[i].message);
    CHECK_INT(fault.offset, cases[i].offset);
  }
}

static void every_prefix_of_a_text_is_refused(void) {
  struct span text = SPAN("{\"model\":\"\xE2\x82\xAC\\u20ac\",\"messages\":[{},[1.5e-3,true,false,null]],"
                          "\"stream\":{\"a\":\"0123456789abcdefghij\"}}");
  CHECK_INT(scan(text), 0);
  for (size_t n = 0; n < text.len; n++)
    CHECK(!is_json(span_make(text.ptr, n)));
}

static void unescape_gives_utf8(void) {
  char out[64];
  size_t n;
  CHECK_INT(json_unescape(out, sizeof out, &n,
                          SPAN("\"\\\"\\\\\\/\\b\\f\\n\\r\\tA\\u00e9\\u20AC\\ud83d\\ude39x\"")),
            0);
  CHECK_STR(out, n, "\"\\/\b\f\n\r\tA\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\xB9x");
  CHECK_INT(json_unescape(out, sizeof out, &n, SPAN("\"\"")), 0);
  CHECK_INT(n, 0);
  CHECK_INT(json_unescape(out, sizeof out, &n, SPAN("\"a\\u0000b\"")), 0);
  CHECK(n == 3 && memcmp(out, "a\0b", 3) == 0);
  CHECK_INT(json_unescape(out, sizeof out, &n, SPAN("\"\\uDBFF\\uDFFF\"")), 0);
  CHECK_STR(out, n, "\xF4\x8F\xBF\xBF");
}

static void unescape_refuses_lone_surrogates(void) {
  static const struct span cases[] = {T("\"\\ud800\""),        T("\"\\ud800x\""),   T("\"\\udc00\""),
                                      T("\"\\ud800\\ud800\""), T("\"\\ud800\\n\""), T("\"\\ud800\\u0041\""),
                                      T("\"\\udc00\\ud800\"")};
  char out[64];
  size_t n;
  for (size_t i = 0; i < ARRAY_LEN(cases); i++)
    CHECK_INT(json_unescape(out, sizeof out, &n, cases[i]), ERR_SYNTAX);
}

static void unescape_keeps_within_its_room(void) {
  char out[8];
  size_t n;
  CHECK_INT(json_unescape(out, 3, &n, SPAN("\"abc\"")), 0);
  CHECK_INT(json_unescape(out, 2, &n, SPAN("\"abc\"")), ERR_TOO_LARGE);
  CHECK_INT(json_unescape(out, 3, &n, SPAN("\"a\\u20ac\"")), ERR_TOO_LARGE);
  CHECK_INT(json_unescape(out, 4, &n, SPAN("\"a\\u20ac\"")), 0);
  CHECK_INT(json_unescape(out, 0, &n, SPAN("\"\"")), 0);
  CHECK_INT(json_unescape(out, 0, &n, SPAN("\"\\n\"")), ERR_TOO_LARGE);
}

static void locate_counts_lines_and_bytes(void) {
  unsigned line, column;
  struct span text = SPAN("{\n  \"a\": x\r\n}");
  json_locate(&line, &column, text, 0);
  CHECK(line == 1 && column == 1);
  json_locate(&line, &column, text, 1);
  CHECK(line == 1 && column == 2);
  json_locate(&line, &column, text, 9);
  CHECK(line == 2 && column == 8);
  json_locate(&line, &column, text, text.len - 1);
  CHECK(line == 3 && column == 1);
  json_locate(&line, &column, text, 1000);
  CHECK(line == 3 && column == 2);
}

static struct buf out;
static struct json_writer w;

static void writer_begins(void) {
  buf_release(&out);
  buf_init(&out, 65536);
  json_begin(&w, &out);
}

static void writer_sets_commas(void) {
  writer_begins();
  json_open(&w, '{');
  json_key(&w, "a");
  json_int(&w, INT64_MIN);
  json_key(&w, "b");
  json_open(&w, '[');
  json_close(&w, ']');
  json_key(&w, "c");
  json_open(&w, '[');
  json_bool(&w, true);
  json_bool(&w, false);
  json_null(&w);
  json_open(&w, '{');
  json_close(&w, '}');
  json_cstring(&w, NULL);
  json_cstring(&w, "x");
  json_string(&w, SPAN_NONE);
  json_close(&w, ']');
  json_close(&w, '}');
  CHECK_STR(out.data, out.len,
            "{\"a\":-9223372036854775808,\"b\":[],\"c\":[true,false,null,{},null,\"x\",\"\"]}");
  CHECK(is_json(buf_span(&out)));
}

static void writer_escapes_what_must_be(void) {
  writer_begins();
  json_string(&w, SPAN("a\"b\\c/\b\f\n\r\t\x01\x1F\x7F\0\xC3\xA9\xF0\x9F\x98\xB9"));
  CHECK_STR(out.data, out.len,
            "\"a\\\"b\\\\c/\\b\\f\\n\\r\\t\\u0001\\u001f\x7F\\u0000\xC3\xA9\xF0\x9F\x98\xB9\"");
}

static void writer_replaces_what_is_not_utf8(void) {
  writer_begins();
  json_string(&w, SPAN("a\xFF\xC3z\xED\xA0\x80\xC3\xA9\xE2\x82"));
  CHECK_STR(
      out.data, out.len,
      "\"a\xEF\xBF\xBD\xEF\xBF\xBDz\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xC3\xA9\xEF\xBF\xBD\xEF\xBF\xBD\"");
  CHECK(is_json(buf_span(&out)));
}

static void written_strings_read_back(void) {
  char in[512], back[512];
  for (size_t i = 0; i < sizeof in; i++)
    in[i] = (char)(i * 7 % 128);
  for (size_t n = 0; n <= sizeof in; n++) {
    size_t back_len;
    writer_begins();
    json_string(&w, span_make(in, n));
    CHECK(is_json(buf_span(&out)));
    CHECK_INT(json_unescape(back, sizeof back, &back_len, buf_span(&out)), 0);
    CHECK(back_len == n && memcmp(in, back, n) == 0);
  }
}

static void doubles_read_back(void) {
  static const struct {
    double x;
    const char *text;
  } cases[] = {{0, "0"},
               {-1.5, "-1.5"},
               {0.1, "0.1"},
               {1e300, "1e+300"},
               {1.0 / 3, "0.3333333333333333"},
               {NAN, "null"},
               {INFINITY, "null"},
               {-INFINITY, "null"}};
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    writer_begins();
    json_double(&w, cases[i].x);
    CHECK_STR(out.data, out.len, cases[i].text);
  }
  writer_begins();
  json_double(&w, 0.1 + 0.2);
  CHECK(strtod(buf_cstr(&out), NULL) == 0.1 + 0.2);
}

int main(void) {
  RUN(good_texts_are_accepted);
  RUN(bad_texts_are_refused);
  RUN(bad_bytes_are_found_at_any_place);
  RUN(all_two_byte_sequences_are_judged);
  RUN(all_code_points_are_judged);
  RUN(depth_128_is_accepted_129_is_too_large);
  RUN(object_depth_counts_from_the_top);
  RUN(members_are_found_with_type_and_raw_value);
  RUN(every_type_is_told);
  RUN(repeats_are_counted_after_unescaping);
  RUN(empty_object_is_told);
  RUN(other_values_at_the_top_are_unsupported);
  RUN(faults_name_place_and_cause);
  RUN(every_prefix_of_a_text_is_refused);
  RUN(unescape_gives_utf8);
  RUN(unescape_refuses_lone_surrogates);
  RUN(unescape_keeps_within_its_room);
  RUN(locate_counts_lines_and_bytes);
  RUN(writer_sets_commas);
  RUN(writer_escapes_what_must_be);
  RUN(writer_replaces_what_is_not_utf8);
  RUN(written_strings_read_back);
  RUN(doubles_read_back);
  buf_release(&out);
  return CHECK_END();
}
