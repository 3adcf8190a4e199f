/*
 * abi_cases: calldata, return data and reasons of refusals. Each is done twice where the program has a typed
 * function: with it, and with the types of the case over the same primitives.
 */
#include "abi_types.h"
#include "eth/contract.h"
#include "eth/hex.h"
#include "eth/keccak.h"
#include "eth/revert.h"

#include <stdio.h>
#include <stdlib.h>

#define OUT_MAX ((size_t)16 << 20)
/* Longer lists than the contracts return, and no shorter ones than a case may have. */
#define LIST_MAX 4096

/* ---- calls ---- */

/*
 * Arguments of a case, by position; `is_good` falls when one is not there or of another type. `is_beyond` rises when a
 * number is larger than the typed call takes: it is then not compared.
 */
struct args {
  struct failure *why;
  json_t *list;
  bool is_good, is_beyond;
};

static struct address address_arg(struct args *a, size_t i) {
  struct address out = ADDRESS_ZERO;
  a->is_good = a->is_good && get_address(a->why, &out, json_array_get(a->list, i));
  return out;
}

static struct u256 number_arg(struct args *a, size_t i) {
  struct u256 out = U256_ZERO;
  a->is_good = a->is_good && get_u256(a->why, &out, json_array_get(a->list, i));
  return out;
}

static uint64_t small_arg(struct args *a, size_t i) {
  struct u256 out = number_arg(a, i);
  a->is_beyond |= !u256_fits_u64(out);
  return out.w[0];
}

static struct span text_arg(struct args *a, size_t i) {
  json_t *value = json_array_get(a->list, i);
  if (!json_is_string(value)) a->is_good = fail(a->why, "an argument is no text");
  return a->is_good ? span_make(json_string_value(value), json_string_length(value)) : SPAN_NONE;
}

static int list_call(struct buf *out, struct args *a, bool is_revocation) {
  static struct address addresses[LIST_MAX];
  static uint8_t ids[LIST_MAX];
  json_t *list = json_array_get(a->list, is_revocation ? 1 : 0);
  struct args elements = {.why = a->why, .list = list, .is_good = a->is_good};
  size_t n = json_array_size(list);
  if (n > LIST_MAX) return ERR_TOO_LARGE;
  for (size_t i = 0; i < n; i++) {
    if (is_revocation)
      ids[i] = (uint8_t)small_arg(&elements, i);
    else
      addresses[i] = address_arg(&elements, i);
  }
  a->is_good = elements.is_good;
  struct address first = is_revocation ? address_arg(a, 0) : ADDRESS_ZERO;
  if (is_revocation) return contract_revoke_tokens(out, &first, ids, n);
  return contract_retrieve_fund(out, addresses, n, text_arg(a, 1));
}

static int typed_call_address(struct buf *out, enum contract_selector f, struct args *a) {
  struct address x = address_arg(a, 0);
  switch (f) {
  case CONTRACT_GET_SERVICE: return contract_get_service(out, &x);
  case CONTRACT_SERVICE_EXISTS: return contract_service_exists(out, &x);
  case CONTRACT_REVOKE_ALL_TOKENS: return contract_revoke_all_tokens(out, &x);
  case CONTRACT_GET_LEDGER: return contract_get_ledger(out, &x);
  case CONTRACT_GET_SERVICE_INFO: return contract_get_service_info(out, &x);
  case CONTRACT_DEPOSIT_FUND_FOR: return contract_deposit_fund_for(out, &x);
  case CONTRACT_GET_LEDGER_PROVIDERS: return contract_get_ledger_providers(out, &x, text_arg(a, 1));
  case CONTRACT_REVOKE_TOKEN: return contract_revoke_token(out, &x, (uint8_t)small_arg(a, 1));
  case CONTRACT_ACKNOWLEDGE_TEE_SIGNER:
    return contract_acknowledge_tee_signer(out, &x, json_is_true(json_array_get(a->list, 1)));
  case CONTRACT_TRANSFER_FUND: return contract_transfer_fund(out, &x, text_arg(a, 1), number_arg(a, 2));
  case CONTRACT_GET_ACCOUNTS_BY_USER:
    return contract_get_accounts_by_user(out, &x, small_arg(a, 1), small_arg(a, 2));
  default: break;
  }
  struct address y = address_arg(a, 1);
  switch (f) {
  case CONTRACT_GET_ACCOUNT: return contract_get_account(out, &x, &y);
  case CONTRACT_ACCOUNT_EXISTS: return contract_account_exists(out, &x, &y);
  case CONTRACT_GET_PENDING_REFUND: return contract_get_pending_refund(out, &x, &y);
  case CONTRACT_IS_TOKEN_REVOKED: return contract_is_token_revoked(out, &x, &y, (uint8_t)small_arg(a, 2));
  default: return ERR_NOT_FOUND;
  }
}

static int typed_call(struct buf *out, enum contract_selector f, struct args *a) {
  switch (f) {
  case CONTRACT_GET_ALL_SERVICES: return contract_get_all_services(out, small_arg(a, 0), small_arg(a, 1));
  case CONTRACT_LOCK_TIME: return contract_lock_time(out);
  case CONTRACT_LEDGER_ADDRESS: return contract_ledger_address(out);
  case CONTRACT_DEPOSIT_FUND: return contract_deposit_fund(out);
  case CONTRACT_DELETE_LEDGER: return contract_delete_ledger(out);
  case CONTRACT_ADD_LEDGER: return contract_add_ledger(out, text_arg(a, 0));
  case CONTRACT_GET_SERVICE_ADDRESS_BY_NAME: return contract_get_service_address_by_name(out, text_arg(a, 0));
  case CONTRACT_GET_RECOMMENDED_SERVICE: return contract_get_recommended_service(out, text_arg(a, 0));
  case CONTRACT_REFUND: return contract_refund(out, number_arg(a, 0));
  case CONTRACT_REVOKE_TOKENS: return list_call(out, a, true);
  case CONTRACT_RETRIEVE_FUND: return list_call(out, a, false);
  default: return typed_call_address(out, f, a);
  }
}

static const struct {
  enum contract_selector id;
  const char *signature;
} FUNCTIONS[] = {
#define FUNCTION_(name, selector, signature) {CONTRACT_##name, signature},
    CONTRACT_FUNCTIONS(FUNCTION_)
#undef FUNCTION_
};

static bool check_typed_call(struct failure *why, const char *signature, json_t *value) {
  for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++) {
    if (strcmp(FUNCTIONS[i].signature, signature) != 0) continue;
    struct args a = {.why = why, .list = json_object_get(value, "args"), .is_good = true};
    struct buf out;
    buf_init(&out, OUT_MAX);
    int err = typed_call(&out, FUNCTIONS[i].id, &a);
    bool is_good = a.is_good && (err == 0 || fail(why, "the typed call fails: %s", err_text(err))) &&
                   (a.is_beyond || same_bytes(why, out.data, out.len, value, "calldata"));
    buf_release(&out);
    return is_good;
  }
  return true;
}

static bool check_selector(struct failure *why, const char *signature, const char *expected) {
  char text[11];
  (void)snprintf(text, sizeof text, "0x%08x", (unsigned)abi_selector(signature));
  return expected && same_text(why, "the selector", span_str(text), span_str(expected));
}

bool call_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf out;
  struct span signature = get_string(why, value, "function");
  if (!signature.ptr) return false;
  buf_init(&out, OUT_MAX);
  bool is_good =
      (!json_object_get(value, "selector") ||
       check_selector(why, signature.ptr, json_string_value(json_object_get(value, "selector")))) &&
      abi_types_call(why, &out, signature.ptr, json_object_get(value, "args")) &&
      same_bytes(why, out.data, out.len, value, "calldata") && check_typed_call(why, signature.ptr, value);
  buf_release(&out);
  return is_good;
}

bool selector_case(struct failure *why, json_t *value, const char *signature, json_t *file) {
  (void)file;
  uint32_t selector = abi_selector(signature);
  if (!json_is_string(value)) return fail(why, "the selector is no text");
  for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++)
    if (strcmp(FUNCTIONS[i].signature, signature) == 0 && (uint32_t)FUNCTIONS[i].id != selector)
      return fail(why, "the program has another selector");
  return check_selector(why, signature, json_string_value(value));
}

bool topic_case(struct failure *why, json_t *value, const char *signature, json_t *file) {
  (void)file;
  uint8_t hash[KECCAK_BYTES];
  char text[67] = "0x";
  if (!json_is_string(value)) return fail(why, "the topic is no text");
  keccak256(hash, signature, strlen(signature));
  hex_write(text + 2, hash, sizeof hash);
  return same_text(why, "the topic", span_str(text), span_str(json_string_value(value)));
}

/* ---- return data ---- */

static json_t *to_address(const struct address *a) {
  char text[ADDRESS_TEXT_LEN + 1];
  address_text(text, a);
  return json_stringn(text, ADDRESS_TEXT_LEN);
}

static json_t *to_number(struct u256 n) {
  char text[U256_TEXT_MAX];
  return json_stringn(text, u256_text(text, n));
}

static json_t *to_text(struct span s) {
  return json_stringn(s.len ? s.ptr : "", s.len);
}

static json_t *from_service(const struct service *s) {
  return json_pack("{so so so so so so so so so so sb}", "provider", to_address(&s->provider), "serviceType",
                   to_text(s->service_type), "url", to_text(s->url), "inputPrice", to_number(s->input_price),
                   "outputPrice", to_number(s->output_price), "updatedAt", to_number(s->updated_at), "model",
                   to_text(s->model), "verifiability", to_text(s->verifiability), "additionalInfo",
                   to_text(s->additional_info), "teeSignerAddress", to_address(&s->tee_signer),
                   "teeSignerAcknowledged", s->tee_signer_acknowledged);
}

static json_t *from_account(const struct account *a) {
  json_t *refunds = json_array();
  for (size_t i = 0; i < a->n_refunds; i++) {
    struct refund r = account_refund(a, i);
    (void)json_array_append_new(refunds, json_pack("{so so so sb}", "index", to_number(r.index), "amount",
                                                   to_number(r.amount), "createdAt", to_number(r.created_at),
                                                   "processed", r.processed));
  }
  return json_pack("{so so so so so so so sb so so so}", "user", to_address(&a->user), "provider",
                   to_address(&a->provider), "nonce", to_number(a->nonce), "balance", to_number(a->balance),
                   "pendingRefund", to_number(a->pending_refund), "refunds", refunds, "additionalInfo",
                   to_text(a->additional_info), "acknowledged", a->acknowledged, "validRefundsLength",
                   to_number(a->valid_refunds), "generation", to_number(a->generation), "revokedBitmap",
                   to_number(a->revoked_bitmap));
}

static json_t *read_service(struct span data) {
  struct service s;
  return contract_read_service(&s, data) ? NULL : json_pack("{so}", "service", from_service(&s));
}

static json_t *read_services(struct span data) {
  static struct service s[LIST_MAX];
  struct u256 total;
  size_t n;
  if (contract_read_services(s, ARRAY_LEN(s), &n, &total, data)) return NULL;
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++)
    (void)json_array_append_new(list, from_service(&s[i]));
  return json_pack("{so so}", "services", list, "total", to_number(total));
}

static json_t *read_account(struct span data) {
  struct account a;
  return contract_read_account(&a, data) ? NULL : json_pack("[o]", from_account(&a));
}

static json_t *read_accounts(struct span data) {
  static struct account a[LIST_MAX];
  struct u256 total;
  size_t n;
  if (contract_read_accounts(a, ARRAY_LEN(a), &n, &total, data)) return NULL;
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++)
    (void)json_array_append_new(list, from_account(&a[i]));
  return json_pack("{so so}", "accounts", list, "total", to_number(total));
}

static json_t *read_ledger(struct span data) {
  struct ledger l;
  if (contract_read_ledger(&l, data)) return NULL;
  return json_pack("[{so so so so}]", "user", to_address(&l.user), "availableBalance",
                   to_number(l.available_balance), "totalBalance", to_number(l.total_balance),
                   "additionalInfo", to_text(l.additional_info));
}

static json_t *read_info(struct span data) {
  struct service_info i;
  if (contract_read_service_info(&i, data)) return NULL;
  return json_pack("[{so so so so so so sb so}]", "serviceAddress", to_address(&i.service_address),
                   "serviceContract", to_address(&i.service_contract), "serviceType", to_text(i.service_type),
                   "version", to_text(i.version), "fullName", to_text(i.full_name), "description",
                   to_text(i.description), "isRecommended", i.is_recommended, "registeredAt",
                   to_number(i.registered_at));
}

static json_t *read_addresses(struct span data) {
  static struct address a[LIST_MAX];
  size_t n;
  if (contract_read_addresses(a, ARRAY_LEN(a), &n, data)) return NULL;
  json_t *list = json_array();
  for (size_t i = 0; i < n; i++)
    (void)json_array_append_new(list, to_address(&a[i]));
  return json_pack("[o]", list);
}

static json_t *read_version(struct span data) {
  struct span version;
  struct address a;
  if (contract_read_version(&version, &a, data)) return NULL;
  return json_pack("{so so}", "version", to_text(version), "serviceAddress", to_address(&a));
}

static json_t *read_bool(struct span data) {
  bool b;
  return contract_read_bool(&b, data) ? NULL : json_pack("[b]", b);
}

static json_t *read_number(struct span data) {
  struct u256 n;
  return contract_read_u256(&n, data) ? NULL : json_pack("[o]", to_number(n));
}

static json_t *read_address(struct span data) {
  struct address a;
  return contract_read_address(&a, data) ? NULL : json_pack("[o]", to_address(&a));
}

#define SERVICE_TYPES                                                                                        \
  "(address provider, string serviceType, string url, uint256 inputPrice, uint256 outputPrice, "             \
  "uint256 updatedAt, string model, string verifiability, string additionalInfo, address teeSignerAddress, " \
  "bool teeSignerAcknowledged)"
#define ACCOUNT_TYPES                                                                                        \
  "(address user, address provider, uint256 nonce, uint256 balance, uint256 pendingRefund, "                 \
  "(uint256 index, uint256 amount, uint256 createdAt, bool processed)[] refunds, string additionalInfo, "    \
  "bool acknowledged, uint256 validRefundsLength, uint256 generation, uint256 revokedBitmap)"

/* The types are for malformed data, whose cases do not tell them. */
static const struct {
  enum contract_selector id;
  json_t *(*read)(struct span data);
  const char *types;
} READERS[] = {
    {CONTRACT_GET_SERVICE, read_service, SERVICE_TYPES " service"},
    {CONTRACT_GET_ALL_SERVICES, read_services, SERVICE_TYPES "[] services, uint256 total"},
    {CONTRACT_GET_ACCOUNT, read_account, ACCOUNT_TYPES},
    {CONTRACT_GET_ACCOUNTS_BY_USER, read_accounts, ACCOUNT_TYPES "[] accounts, uint256 total"},
    {CONTRACT_ACCOUNT_EXISTS, read_bool, "bool"},
    {CONTRACT_SERVICE_EXISTS, read_bool, "bool"},
    {CONTRACT_GET_PENDING_REFUND, read_number, "uint256"},
    {CONTRACT_IS_TOKEN_REVOKED, read_bool, "bool"},
    {CONTRACT_LOCK_TIME, read_number, "uint256"},
    {CONTRACT_LEDGER_ADDRESS, read_address, "address"},
    {CONTRACT_GET_LEDGER, read_ledger,
     "(address user, uint256 availableBalance, uint256 totalBalance, string additionalInfo)"},
    {CONTRACT_GET_SERVICE_INFO, read_info,
     "(address serviceAddress, address serviceContract, string serviceType, string version, string fullName, "
     "string description, bool isRecommended, uint256 registeredAt)"},
    {CONTRACT_GET_SERVICE_ADDRESS_BY_NAME, read_address, "address"},
    {CONTRACT_GET_RECOMMENDED_SERVICE, read_version, "string version, address serviceAddress"},
    {CONTRACT_GET_LEDGER_PROVIDERS, read_addresses, "address[]"},
};

/* Of functions that the program does not call. */
static const struct {
  const char *signature, *types;
} OTHERS[] = {
    {"getAccountsByProvider(address,uint256,uint256)", ACCOUNT_TYPES "[] accounts, uint256 total"},
    {"getAllAccounts(uint256,uint256)", ACCOUNT_TYPES "[] accounts, uint256 total"},
    {"owner()", "address"},
};

static struct span known_types(struct span function, size_t reader) {
  if (reader < ARRAY_LEN(READERS)) return span_str(READERS[reader].types);
  for (size_t i = 0; i < ARRAY_LEN(OTHERS); i++)
    if (span_eq(function, span_str(OTHERS[i].signature))) return span_str(OTHERS[i].types);
  return SPAN_NONE;
}

static size_t find_reader(uint32_t selector) {
  size_t i = 0;
  while (i < ARRAY_LEN(READERS) && (uint32_t)READERS[i].id != selector)
    i++;
  return i;
}

static bool same_values(struct failure *why, const char *what, json_t *got, json_t *expected) {
  if (abi_types_equal(got, expected)) return true;
  char *a = json_dumps(got, JSON_COMPACT), *b = json_dumps(expected, JSON_COMPACT | JSON_ENCODE_ANY);
  (void)fail(why, "%s gives %.300s, expected %.300s", what, a ? a : "nothing", b ? b : "nothing");
  free(a);
  free(b);
  return false;
}

/* Both readers must give the values; a refusal, where it may be, must come from both. */
static bool check_return(struct failure *why, struct span function, struct span types, struct span data,
                         json_t *expected, bool may_refuse) {
  bool is_refused;
  size_t i = find_reader(abi_selector(function.ptr));
  if (!types.ptr) types = known_types(function, i);
  if (!types.ptr) return fail(why, "it is not known what %s returns", function.ptr);
  json_t *got = abi_types_read(why, &is_refused, types, data);
  if (!got && !is_refused) return false;
  bool is_good = got ? same_values(why, "the reader", got, expected)
                     : may_refuse || fail(why, "the reader refuses the data");
  json_decref(got);
  if (!is_good || i == ARRAY_LEN(READERS)) return is_good;
  json_t *typed = READERS[i].read(data);
  if (!typed)
    is_good = is_refused || fail(why, "the typed reader refuses the data");
  else
    is_good = !is_refused ? same_values(why, "the typed reader", typed, expected)
                          : fail(why, "the typed reader takes what the other refuses");
  json_decref(typed);
  return is_good;
}

bool return_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf data;
  struct span function = get_string(why, value, "function"), types = get_string(why, value, "returns");
  if (!function.ptr || !types.ptr || !get_bytes(why, &data, value, "data")) return false;
  bool is_good =
      check_return(why, function, types, buf_span(&data), json_object_get(value, "decoded"), false);
  buf_release(&data);
  return is_good;
}

/* The types of a function from the file's own good cases. */
static struct span types_in_file(json_t *file, struct span function) {
  size_t i;
  json_t *other;
  json_array_foreach(json_object_get(file, "cases"), i, other) {
    if (span_eq(get_string_or_null(other, "function"), function)) return get_string_or_null(other, "returns");
  }
  return SPAN_NONE;
}

bool malformed_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name;
  struct buf data;
  bool is_taken;
  struct span function = get_string(why, value, "function");
  if (!function.ptr || !get_ok(why, &is_taken, value) || !get_bytes(why, &data, value, "data")) return false;
  struct span types = get_string_or_null(value, "returns");
  if (!types.ptr) types = types_in_file(file, function);
  /* What a lenient reader takes may be refused, but what it refuses must be. */
  bool is_good = check_return(why, function, types, buf_span(&data),
                              is_taken ? json_object_get(value, "value") : NULL, true);
  buf_release(&data);
  return is_good;
}

/* ---- refusals ---- */

static bool same_arg(struct failure *why, const struct revert_arg *arg, json_t *expected) {
  struct address a;
  struct u256 n;
  if (arg->type == REVERT_ARG_ADDRESS)
    return get_address(why, &a, expected) &&
           (address_eq(&a, &arg->address) || fail(why, "an address differs"));
  if (arg->type == REVERT_ARG_NUMBER)
    return get_u256(why, &n, expected) && (u256_eq(n, arg->number) || fail(why, "a number differs"));
  return json_is_string(expected) &&
         same_text(why, "the text", arg->string,
                   span_make(json_string_value(expected), json_string_length(expected)));
}

/* Words for people must come out whatever the data is, and name the error. */
static bool has_words(struct failure *why, const struct revert *r) {
  char text[REVERT_TEXT_MAX + 1];
  size_t len = revert_text(text, r);
  if (len == 0) return fail(why, "there are no words for it");
  if (r->id == REVERT_REASON) return true;
  return r->name.len == 0 || span_starts(span_make(text, len), r->name) ||
         fail(why, "the words do not name it");
}

bool error_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf data;
  struct revert r;
  json_t *args = json_object_get(value, "args");
  struct span signature = get_string(why, value, "error");
  if (!signature.ptr || !get_bytes(why, &data, value, "data")) return false;
  revert_read(&r, buf_span(&data));
  bool is_good = (r.signature || fail(why, "the error is not known")) &&
                 same_text(why, "the error", span_str(r.signature), signature) &&
                 (json_array_size(args) == r.n_args || fail(why, "it has %zu arguments", r.n_args));
  for (size_t i = 0; is_good && i < r.n_args; i++)
    is_good = same_arg(why, &r.args[i], json_array_get(args, i));
  is_good = is_good && has_words(why, &r) &&
            (!json_object_get(value, "selector") ||
             check_selector(why, signature.ptr, json_string_value(json_object_get(value, "selector"))));
  buf_release(&data);
  return is_good;
}

/*
 * The SDK's words tell what it made of the data: "Error: Name (Arg0: value)" when it knew the error (or words
 * of its own for some), a general text when it did not.
 */
static bool same_as_sdk(struct failure *why, const struct revert *r, struct span message) {
  if (span_starts(message, SPAN("Transaction execution reverted")))
    return r->signature ? fail(why, "it is taken for %s", r->signature) : true;
  if (!r->signature) return fail(why, "the error is not known");
  if (!span_starts(message, SPAN("Error: "))) return true;
  struct buf own;
  char number[U256_TEXT_MAX];
  bool is_text = r->n_args && r->args[0].type == REVERT_ARG_STRING;
  bool is_number = r->n_args == 1 && r->args[0].type == REVERT_ARG_NUMBER;
  if (r->n_args && !is_text && !is_number)
    return span_starts(span_make(message.ptr + 7, message.len - 7), r->name) ||
           fail(why, "it is another error");
  buf_init(&own, OUT_MAX);
  buf_putf(&own, "Error: %.*s", SPAN_FMT(r->name));
  if (r->n_args) buf_put_str(&own, " (Arg0: ");
  if (is_text) buf_put(&own, r->args[0].string.ptr, r->args[0].string.len);
  if (is_number) buf_put(&own, number, u256_text(number, r->args[0].number));
  if (r->n_args) buf_put_str(&own, ")");
  bool is_good = same_text(why, "the SDK's text", buf_span(&own), message);
  buf_release(&own);
  return is_good;
}

bool generic_error_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf data;
  struct revert r;
  struct span message = get_string(why, value, "sdk_message");
  if (!message.ptr || !get_bytes(why, &data, value, "data")) return false;
  revert_read(&r, buf_span(&data));
  bool is_good = same_as_sdk(why, &r, message) && has_words(why, &r);
  buf_release(&data);
  return is_good;
}

bool error_selector_case(struct failure *why, json_t *value, const char *signature, json_t *file) {
  (void)file;
  struct span text = span_str(json_string_value(value));
  if (!text.ptr || !check_selector(why, signature, text.ptr)) return false;
#define KNOWN_(name, selector, known, words)                                                                 \
  if (strcmp(known, signature) == 0)                                                                         \
    return (selector) == abi_selector(signature) || fail(why, "the program has another selector");
  REVERT_ERRORS(KNOWN_)
#undef KNOWN_
  return fail(why, "the error is not known");
}
