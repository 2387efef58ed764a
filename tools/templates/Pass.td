def @Name@ : Pass<"qp-@kebab@", "::mlir::ModuleOp"> {
  let summary = "@summary@";
  let description = [{
    @summary@.

    Assumes: any module. Guarantees: the module is unchanged.
  }];
  let statistics = [Statistic<"visited", "visited", "Operations looked at">];
}
