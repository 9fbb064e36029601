// What the frontend's types leave out, as far as web/js uses it.

// The host serves this module; it is no file of the pack.
declare module "*/scripts/app.js" {
    import type { ComfyApp } from "@comfyorg/comfyui-frontend-types";
    export const app: ComfyApp;
}

type ComfyExtension = import("@comfyorg/comfyui-frontend-types").ComfyExtension;
type LGraphNode = Parameters<NonNullable<ComfyExtension["nodeCreated"]>>[0];

/** A node of the graph. */
type GraphNode = LGraphNode & {
    constructor: { nodeData?: { python_module?: string } };
    onAfterGraphConfigured?: () => void;
    onExecuted?: (output: any) => void;
    /** The pictures that the classic canvas shows on it. */
    imgs?: HTMLImageElement[];
};
type Slot = GraphNode["inputs"][number];

/** The argument of a widget's callbacks around the queueing of a run. */
type Queued = { isPartialExecution?: boolean };
type Widget = NonNullable<GraphNode["widgets"]>[number] & {
    beforeQueued?: (run?: Queued) => void;
    afterQueued?: (run?: Queued) => void;
};
