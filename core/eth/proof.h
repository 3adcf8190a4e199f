/*
 * proof: whether an answer came from the provider's TEE, unaltered. A provider signs, for each answer, a text
 * with the SHA-256 of the request's and of the response's bytes; the contract says whose signature counts.
 *
 * Two questions are answered side by side. What the published SDK (processResponse) would say, which looks at
 * the signature alone: any text ever signed by the key passes. And whether the signed text is about the bytes
 * that passed through here. Texts signed: "request:response" of plain answers; the same with
 * ":type:identity:certificate" behind it of centralized providers; "request:image,image,…" of images.
 *
 * Pure functions; what they borrow is the caller's. Thread: any.
 */
#ifndef MOONGATE_ETH_PROOF_H
#define MOONGATE_ETH_PROOF_H

#include "eth/contract.h"
#include "eth/signature.h"

#define PROOF_SHA256_BYTES 32

/* What the SDK gives back. */
enum proof_verdict {
  PROOF_NULL,   /* nothing was looked at: no id of the answer */
  PROOF_FALSE,  /* not verifiable, or signed by someone else */
  PROOF_TRUE,   /* signed by the expected signer */
  PROOF_THROWS, /* an exception */
};

enum proof_check { PROOF_UNKNOWN, PROOF_PASS, PROOF_FAIL };
/* "unknown", "pass", "fail". */
const char *proof_check_text(enum proof_check check);

enum proof_signer {
  PROOF_SIGNER_BROKER,  /* the service's teeSignerAddress */
  PROOF_SIGNER_TARGET,  /* the model's own TEE, named in the service's additionalInfo */
  PROOF_SIGNER_INVALID, /* the target's address is none: no signature can match */
  PROOF_SIGNER_NO_TEXT, /* it is not even a text */
};

/* Whose signature counts for a service, if any. Borrows from the service. */
struct proof_expectation {
  /* PROOF_TRUE: the signature is worth asking for. Otherwise the verdict is final: PROOF_FALSE, PROOF_THROWS. */
  enum proof_verdict verdict;
  const char *reason; /* static; why it is final, NULL for PROOF_TRUE */
  enum proof_signer source;
  struct address signer; /* of the first two sources */
  bool is_centralized;
  bool signs_images;    /* by the service's type */
  struct span identity; /* additionalInfo.ProviderIdentity as raw JSON string with quotes; may be empty */
};

void proof_expect(struct proof_expectation *out, const struct service *service);
/* Whether services of that type sign their images one by one. */
bool proof_signs_images(struct span service_type);

/*
 * Appends the signature endpoint's URL: {url}/v1/proxy/signature/{id}?model={model}, with the two percent-
 * encoded where they have to be. `chat_id` is the value of ZG-Res-Key, or the answer's id without that field.
 */
int proof_signature_url(struct buf *out, struct span url, struct span chat_id, struct span model) MUST_CHECK;

struct proof_evidence {
  bool has_chat_id; /* false: nothing could be asked for */
  int status;       /* of the signature endpoint's answer; 0 when none came */
  struct span body;
  const uint8_t *request_sha256, *response_sha256; /* of the bytes sent and received; NULL when not known */
  /* The provider may have sent on other bytes than it got (added stream_options, another model name). */
  bool is_request_rewritable;
  /* Of images: of the text that is signed about them (wire/images.h); NULL when not known. */
  const uint8_t *images_sha256;
};

struct proof {
  enum proof_verdict verdict; /* the SDK's */
  enum proof_check signature, response, request;
  const char *signature_reason, *response_reason, *request_reason; /* static; NULL where the check passed */
  /* Five parts alone: whether type and identity are those of the service's record. */
  enum proof_check routing;
  bool has_signer;
  struct address signer; /* who did sign */
  /* The signed text as it was found, whatever the signature is worth. */
  unsigned n_parts;                       /* 0 when the body holds no text */
  bool request_matches, response_matches; /* part 1 and 2 are the hashes of the bytes here */
  /* 400 because the provider does not know the id (yet, or no more): worth some short retries. */
  bool is_not_found;
};

void proof_judge(struct proof *out, const struct proof_expectation *expected,
                 const struct proof_evidence *evidence);

/* What /v1/verify answers: signature and response both pass. */
static inline bool proof_is_valid(const struct proof *p) {
  return p->signature == PROOF_PASS && p->response == PROOF_PASS;
}

#endif
