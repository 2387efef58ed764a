# Completions of qplan; written by `tools/dev completions` from its help.
_qplan() {
  local word=${COMP_WORDS[COMP_CWORD]} words=
  if [[ $COMP_CWORD -eq 1 ]]; then
    COMPREPLY=($(compgen -W "compile search run eval logits bench inspect advise report formats targets models --help --version" -- "$word"))
    return
  fi
  case ${COMP_WORDS[1]} in
    compile) words="-h --help -o --output --quant --auto --activations --score --group --single-experts --rotate --exchange --for-export --sites --recipe --save-recipe --fallback --untie --effective-bits --effective-bits-modelopt --weight-bytes --memory-bytes --decode-ms --max-kl --calib --calib-samples --calib-length --statistics --target --kv-cache --context --name --qdq --threads --dump-ir --emit --json" ;;
    search) words="-h --help -o --output --front --save-recipe --auto --activations --score --group --single-experts --rotate --exchange --for-export --sites --effective-bits --effective-bits-modelopt --weight-bytes --memory-bytes --decode-ms --max-kl --kv-cache --context --calib --calib-samples --calib-length --statistics --time --threads --json" ;;
    run) words="-h --help --prompt --prompt-file --ids -n --tokens --chat --system --stop --ignore-eos --threads --untrusted --json --temperature --top-k --top-p --seed" ;;
    eval) words="-h --help --text --ids --reference --window --windows --threads --json" ;;
    logits) words="-h --help --input-ids -o --output --greedy --chunk --compare --tolerance --threads --json" ;;
    bench) words="-h --help -p --prefill -n --decode -b --batch --depth --repetitions --threads --json" ;;
    inspect) words="-h --help --json" ;;
    advise) words="-h --help -b --batch --target --accuracy --treatments --calib --windows --threads --json" ;;
    report) words="-h --help -o --output --front --text --reference --windows --bench -b --batch --threads --model --calib --calib-samples --calib-length --statistics" ;;
    formats) words="-h --help --json" ;;
    targets) words="-h --help --json" ;;
    models) words="-h --help --json" ;;
  esac
  if [[ $word == -* ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}
complete -o filenames -F _qplan qplan
